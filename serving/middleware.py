"""Pure-ASGI guards around the app: request ids and headers, host names and origins, the size and pace of a body.

Pure ASGI, not BaseHTTPMiddleware: streams and cancellation pass through untouched. Who asks is `serving.auth`'s matter,
how much they may is `serving.limits`'s.
"""

import asyncio
import re
import time
import uuid
from typing import Final

import structlog
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access import METHODS, SAFE_METHODS, rule_of
from serving.context import RequestInfo, current_request, set_current_request
from serving.errors import body_of
from serving.metrics import Metrics
from serving.refusals import refuse
from serving.settings import ServiceSettings, is_same_origin

_LOG = structlog.get_logger("serving")

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere: a page's scripts and styles are files under /static."""

_SECURITY_HEADERS: Final = [
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]

CLIENT_LEFT: Final = 499
"""No client reads it; nginx's number for the same in its log."""

_HOST = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_SEND_SECONDS: Final = 60.0
"""A client that reads nothing for so long has left: its connection may never say so."""
_LINGER_TIMES: Final = 16
_LINGER_SECONDS: Final = 2.0
"""A body too large is read on for so many times the limit, or so long: who is still writing misses a reply."""


class RequestContext:
    """Outermost: a request id, security headers, figures, one log line without content, and an answer to any fault."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: Metrics) -> None:
        self._app = app
        self._seconds = settings.request_seconds
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        set_current_request(RequestInfo(request_id, deadline=started + self._seconds))
        # Replies are small: parts of them are asked for by attackers alone.
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"range"]

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = [*message.get("headers", ()), *_SECURITY_HEADERS, (b"x-request-id", request_id.encode())]
                if all(name != b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            async with asyncio.timeout(_SEND_SECONDS):
                await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told or cut off, and the log knows
            code, body = body_of(error)
            # Once a reply has begun, returning without its end makes the server cut the connection.
            if not status:
                await JSONResponse(body, status_code=code)(scope, receive, send_with_headers)
        finally:
            self._note(scope, status or CLIENT_LEFT, time.monotonic() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "-")
        self._metrics.requests.labels(scope["method"] if scope["method"] in METHODS else "-", route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        request = current_request()
        _LOG.info(
            "request",
            id=request.request_id,
            client=request.client,
            method=scope["method"],
            route=route,
            status=status,
            ms=round(1000 * seconds, 1),
        )


class Doors:
    """Answer only to names that this service is known by, to methods that it has, and to pages that may ask it.

    A page elsewhere can neither rebind its name to this machine nor have a visitor's browser change anything here.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: Metrics) -> None:
        self._app = app
        self._hosts = settings.hosts
        self._origins = frozenset(settings.cors_origins)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers, method = Headers(scope=scope), scope["method"]
        named = headers.getlist("host")
        host = named[0].lower() if len(named) == 1 else ""
        match = _HOST.fullmatch(host)
        if self._hosts is not None and (match is None or match["name"].strip("[]") not in self._hosts):
            self._metrics.rejected("host")
            cure = "use the address that `rjepa serve` prints, or add this name to RJEPA_ALLOWED_HOSTS"
            return refuse("this service does not answer to that host name", cure, status=400, code="invalid_host")
        if method not in METHODS:
            self._metrics.rejected("method")
            cure = "see GET /openapi.json for the routes and their methods"
            return refuse("this service has no such method", cure, status=405, code="http_405")
        origin = headers.get("origin")
        asks = method not in SAFE_METHODS or "access-control-request-method" in headers
        if asks and origin is not None and origin.lower() not in self._origins and not is_same_origin(origin, host):
            self._metrics.rejected("origin")
            cure = "open the page of this service, or add its origin to RJEPA_CORS_ORIGINS"
            return refuse("pages of that origin may not ask this service", cure, status=403, code="invalid_origin")
        return None


class Body:
    """Read the body before anything is done for it, as size and time allow; then listen whether the client leaves.

    Bytes are counted as they come, so that a body without a length ends at the same size. A client that leaves while
    the model works, or while it waits, has its work cancelled there and then.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: Metrics) -> None:
        self._app = app
        self._max_bytes = settings.max_body_bytes
        self._seconds = settings.body_seconds
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._read(receive)
        except TimeoutError:
            self._metrics.rejected("body_time")
            cure = f"send the whole body within {self._seconds:g} seconds"
            refusal = refuse("the body did not arrive in time", cure, status=408, code="body_timeout", headers=_CLOSE)
            await refusal(scope, receive, send)
            return
        if body is None:  # it left
            return
        if len(body) > self._max_bytes:
            self._metrics.rejected("body_size")
            problem, cure = f"the body is larger than {self._max_bytes} bytes", "send a shorter request"
            await refuse(problem, cure, status=413, code="http_413", headers=_CLOSE)(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if body and headers.get("content-encoding", "identity").lower() != "identity":
            cure = "send it as it is, without content-encoding"
            await refuse("the body is compressed", cure, status=415, code="http_415")(scope, receive, send)
            return
        if body and not _is_json(headers.get("content-type", "")):
            cure = "send one JSON object with content-type: application/json"
            await refuse("the body is not JSON", cure, status=415, code="http_415")(scope, receive, send)
            return
        message: Message = {"type": "http.request", "body": body, "more_body": False}
        if rule_of(scope["method"], scope["path"]).asks_model:
            await self._answer_while_there(scope, message, receive, send)
        else:
            await self._app(scope, _first(message, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The body; more than the limit of it where it is too large; None if the client leaves."""
        parts, size, stop_at = [], 0, float("inf")
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            if size <= self._max_bytes:
                parts.append(part)
            size += len(part)
            if size > self._max_bytes and stop_at == float("inf"):
                stop_at = time.monotonic() + _LINGER_SECONDS
            if not message.get("more_body") or size > _LINGER_TIMES * self._max_bytes or time.monotonic() > stop_at:
                return b"".join(parts)

    async def _answer_while_there(self, scope: Scope, message: Message, receive: Receive, send: Send) -> None:
        left, replied = asyncio.Event(), False

        async def leaving() -> Message:
            await left.wait()
            return {"type": "http.disconnect"}

        async def noting(message: Message) -> None:
            nonlocal replied
            await send(message)
            replied = replied or (message["type"] == "http.response.body" and not message.get("more_body"))

        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            if not replied:
                left.set()
                work.cancel()

        work = asyncio.ensure_future(_run(self._app, scope, _first(message, leaving), noting))
        listener = asyncio.ensure_future(listen())
        try:
            await work
        except asyncio.CancelledError:
            if not left.is_set():
                raise
            self._metrics.rejected("left")
        finally:
            listener.cancel()
            work.cancel()
            await asyncio.gather(work, listener, return_exceptions=True)


class HeadAsGet:
    """Innermost: answer HEAD with the headers of GET, for `curl -I` and those who look whether a service is up."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        as_get = dict(scope, method="GET")
        try:
            await self._app(as_get, receive, send_head)
        finally:
            scope["route"] = as_get.get("route")  # the log and the figures name it


_CLOSE: Final = {"connection": "close"}
"""What is still to come of the body is not read."""


async def _run(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


def _first(message: Message, then: Receive) -> Receive:
    """A `receive` that gives a message, and then what another gives."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            return await then()
        given = True
        return message

    return receive


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
