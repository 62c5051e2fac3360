"""The hook that rates answers: pure ASGI around what answers, so that streams and cancellation pass through untouched.

It writes nothing, waits for nothing and keeps nothing: items go to `serving.quality`.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rjepa.reasoning.answer import Answer
from serving.access import Principal
from serving.quality import Item, Quality

ANSWERING: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/generate"})
"""Paths whose replies are answers; others that ask the model give vectors and energies."""

_AWAY: Final = 503
"""No release is loaded, or the service stops: that says nothing of a release."""

_ITEM: Final[ContextVar[Item | None]] = ContextVar("rjepa_quality", default=None)


def note_answer(answer: Answer) -> None:
    """Take an answer of the current request into account; nothing happens outside of one."""
    item = _ITEM.get()
    if item is not None:
        item.note(answer)


def note_engine(release_id: str) -> None:
    """The current request is answered by this release: an error of it counts there."""
    item = _ITEM.get()
    if item is not None:
        item.release_id = release_id


def client_that_counts(scope: Scope) -> str:
    """The client of a request, whose say in a release's health has a limit; empty for an operator, who can take a
    release back anyway.
    """
    principal: Principal | None = scope.get("state", {}).get("principal")
    return "" if principal is None or principal.role == "operator" else principal.client


class QualityCollector:
    """The ASGI hook around what answers. It passes every message on as it is, and reads its status and kind alone."""

    def __init__(self, app: ASGIApp, quality: Quality, served: Callable[[], str | None]) -> None:
        """`served` says which release is served now: an error counts there, where no other was found by its name."""
        self._app, self._quality, self._served = app, quality, served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in ANSWERING or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        item, started = Item(), time.monotonic()
        status, is_stream = 0, False

        async def look(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                is_stream = Headers(scope=message).get("content-type", "").startswith("text/event-stream")
            await send(message)

        token = _ITEM.set(item)
        try:
            await self._app(scope, receive, look)
        except Exception:
            self._add(item, scope, started, failed=True)
            raise
        finally:
            _ITEM.reset(token)
        # A stream without an answer ended with an error event. A client that leaves cancels this, and is not counted.
        failed = (status >= 500 and status != _AWAY) or (is_stream and not item.answers)
        if failed or item.answers:
            self._add(item, scope, started, failed=failed)

    def _add(self, item: Item, scope: Scope, started: float, *, failed: bool) -> None:
        item.client = client_that_counts(scope)
        item.seconds, item.failed = time.monotonic() - started, failed
        item.release_id = item.release_id or self._served() or ""
        if item.release_id:
            self._quality.add(item)
