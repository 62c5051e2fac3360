"""One LoRA of the served student: opening it beside the base, and knowing which requests are answered with it.

Which are served is `serving.loras`'s; what is opened and verified, `rjepa.with_lora`'s.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from rjepa.control.place import Place
from rjepa.errors import CorruptError, NotFoundError
from rjepa.releases.student_gate import StudentDecision, read_verdict
from serving.errors import GoneError, LoraRefusedError, NotReadyError
from serving.host import EngineHost

if TYPE_CHECKING:
    from rjepa.answerer import Answerer
    from rjepa.with_lora import WithLora

_STATE: Final = "rjepa_loras"
"""Key of a request's state: the LoRAs that it uses."""

Value = TypeVar("Value")


@dataclass(eq=False)
class LoadedLora:
    """One LoRA that is served, or was when its last request began."""

    name: str
    opened: "WithLora"
    base: object  # the source of the base whose modules it shares
    answering: int = 0
    retired: bool = False

    @property
    def answerer(self) -> "Answerer":
        """Who answers with it."""
        return self.opened.answerer

    @property
    def sha256(self) -> str:
        """Hash of its files."""
        return self.opened.lora.sha256

    def take(self, request: Request) -> None:
        """Keep it until the reply to this request has ended."""
        self.answering += 1
        request.scope.setdefault("state", {}).setdefault(_STATE, []).append(self)


class LoraOpener:
    """Opens LoRAs of the served student."""

    def __init__(self, place: Place, host: EngineHost, endpoint_folder: str | None) -> None:
        """endpoint_folder: where the server behind the student's endpoint finds the home's loras/."""
        self._place, self._host, self._endpoint_folder = place, host, endpoint_folder

    async def open(self, name: str, old: LoadedLora | None) -> LoadedLora:
        """A LoRA, verified: the one that is loaded, where that is the same; else a new one.

        Raises:
            GoneError: there is no such LoRA, or a file of it is missing.
            LoraRefusedError: a file is damaged.
            RjepaError: as `rjepa.with_lora.open_beside`.
        """
        from rjepa.answerer import Answerer
        from rjepa.with_lora import open_beside, release_of, verify_lora

        base, home, tag = self._host.engine(), self._place.home, self._place.llm_tag
        if not isinstance(base, Answerer):
            raise NotReadyError("no release is loaded", cure="try again in a few seconds")
        loop = asyncio.get_running_loop()

        def between(work: Callable[[], Value]) -> Value:
            return asyncio.run_coroutine_threadsafe(self._host.run(work), loop).result()

        def find() -> LoadedLora:
            if old is not None and old.base is base.source:
                lora = verify_lora(home, tag, name).lora
                if lora is not None and (lora.sha256, release_of(home, tag, name)) == (old.sha256, old.opened.release):
                    old.opened.renew()
                    return old
            return LoadedLora(name, open_beside(home, base, tag, name, between, self._endpoint_folder), base.source)

        try:
            return await asyncio.to_thread(find)
        except NotFoundError as error:
            raise GoneError(error.problem, cure=error.cure) from error
        except CorruptError as error:
            raise LoraRefusedError(error.problem, cure=error.cure) from error

    def verdict(self, name: str) -> StudentDecision | None:
        """What the gate of students said of a LoRA last; None where it was not asked, or what it said is damaged."""
        try:
            return read_verdict(self._place.home, self._place.llm_tag, name)
        except (CorruptError, ValueError):
            return None

    def ask_gate(self, loaded: LoadedLora) -> None:
        """Let what the gate said of this very student count.

        Raises:
            LoraRefusedError: it was found worse than its base, or not shown to be better.
        """
        verdict = self.verdict(loaded.name)
        if verdict is None or verdict.passed or verdict.fingerprint != loaded.answerer.student_fingerprint:
            return
        raise LoraRefusedError(
            f"the gate refused the LoRA {loaded.name} on {verdict.dataset}: {verdict.text}",
            cure="train a better one, or send despite_gate: true, which is kept with the change",
        )


class LoraUses:
    """The ASGI hook that says when a request's reply has ended: what it used can be let go then."""

    def __init__(self, app: ASGIApp, ended: Callable[[list[LoadedLora]], None]) -> None:
        """`ended` is called with the LoRAs that a request has used."""
        self._app, self._ended = app, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            used = scope.get("state", {}).get(_STATE)
            if used:
                self._ended(used)
