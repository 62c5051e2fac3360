"""LoRAs of the served student: which are loaded, swapped as one set between requests, and taken out by a rule.

The set lives in the database (`rjepa.living.served_loras`), so that it outlives the process and all processes serve
the same. A change opens and verifies all that is new, writes the set, and swaps it in: what fails before leaves the
old set served, and nothing of the new one in memory or at an endpoint. A request keeps the LoRA that it began with; one
that was taken out is let go when the last of its answers has ended. Opening is `rjepa.with_lora`'s.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from starlette.requests import Request

from rjepa.control.place import Place
from rjepa.database import Database
from rjepa.errors import InvalidInputError, RjepaError
from rjepa.living.lora_health import BEFORE_MS, LoraHealth, look_at_lora
from rjepa.living.served_loras import Action, LoraMove, Served, ServedSet, list_moves, move_served, read_served
from rjepa.living.settings import read_settings
from rjepa.living.windows import read_windows
from serving.asked_database import AskedDatabase
from serving.context import RequestInfo, set_current_request
from serving.errors import GoneError, LoraRefusedError
from serving.host import OWN_CLIENT, EngineHost
from serving.lora_opening import LoadedLora, LoraOpener

if TYPE_CHECKING:
    from rjepa.answerer import Answerer

_LOG: Final = structlog.get_logger("serving")
_RETRY_SECONDS: Final = 30.0
"""A LoRA that could not be opened is tried again after this long: a disk or an endpoint may have come back."""
_RENEW_SECONDS: Final = 10.0
"""How often an endpoint is asked whether it still has what was loaded there: one that was started again has nothing."""
RULE: Final = "the rule of LoRA health"
"""Who takes a LoRA out that does worse than its base."""


@dataclass(frozen=True)
class Failure:
    """Why a LoRA that should be served is not."""

    problem: str
    cure: str


class LoadedLoras:
    """The LoRAs of the served student. Methods are called in the event loop."""

    def __init__(
        self,
        place: Place,
        host: EngineHost,
        *,
        most: int,
        endpoint_folder: str | None,
        follow_seconds: float,
        health_seconds: float,
    ) -> None:
        """Nothing is loaded before `start`.

        Args:
            most: LoRAs that may be loaded at a time.
            endpoint_folder: where the server behind the student's endpoint finds the home's loras/.
            follow_seconds: how often the set in the database is looked at.
            health_seconds: how often rates are compared.
        """
        self._place, self._host, self._most = place, host, most
        self.opener = LoraOpener(place, host, endpoint_folder)
        self._follow_seconds, self._health_seconds = follow_seconds, health_seconds
        self._loaded: Mapping[str, LoadedLora] = {}
        self._set = ServedSet()
        self._failed: dict[str, Failure] = {}
        self._retry_at = self._renew_at = 0.0
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._database = AskedDatabase(place.open_database)
        self._trouble: dict[str, Failure] = {}

    @property
    def loaded(self) -> Mapping[str, LoadedLora]:
        """What is served, by name."""
        return self._loaded

    @property
    def served(self) -> Mapping[str, Served]:
        """What should be served, by name."""
        return self._set.loras

    @property
    def failed(self) -> Mapping[str, Failure]:
        """What should be served and could not be opened, by name."""
        return self._failed

    @property
    def trouble(self) -> Failure | None:
        """Why the set in the database cannot be followed, or rates cannot be compared."""
        return next(iter(self._trouble.values()), None)

    async def start(self) -> None:
        """Begin to follow the set, and to compare."""
        self._database = AskedDatabase(self._place.open_database)  # a service may be started again
        self._keep(asyncio.create_task(self._repeat("set", self._follow_seconds, self._follow)))
        self._keep(asyncio.create_task(self._repeat("rates", self._health_seconds, self._mind_health)))

    async def stop(self) -> None:
        """End that. LoRAs at an endpoint stay there, for those that serve after this process."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._database.close()

    def take(self, name: str, request: Request) -> "Answerer":
        """The answerer of a LoRA, for a request: it is not let go before the request's reply has ended.

        Raises:
            GoneError: it is not loaded.
        """
        loaded = self._loaded.get(name)
        if loaded is None:
            why = self._failed.get(name)
            raise GoneError(
                f"the LoRA {name[:64]!r} is not loaded" + ("" if why is None else f": {why.problem}"),
                cure="use a model that GET /v1/models lists, or let an operator load it: POST /v1/lora/reload",
            )
        loaded.take(request)
        return loaded.answerer

    def give_back(self, used: Sequence[LoadedLora]) -> None:
        """A request that took these has ended."""
        for loaded in used:
            loaded.answering -= 1
            self._let_go(loaded)

    async def reload(self, names: Sequence[str], *, who: str, reason: str, despite_gate: bool = False) -> None:
        """Serve exactly these from now on, all of them or none: what is loaded already is verified again.

        Args:
            despite_gate: serve what the gate of students refused, too.

        Raises:
            InvalidInputError: a name that is none, or twice there; too many; a LoRA of another base, or of shapes that
                do not fit it.
            GoneError: there is no such LoRA, or a file of it is missing.
            LoraRefusedError: a file is damaged, or the gate refused it.
            RjepaError: the endpoint does not load it; somebody else changed the set meanwhile; no database.
        """
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidInputError(f"the LoRA {twice[0][:64]!r} is named twice", cure="name each once")
        if len(names) > self._most:
            raise InvalidInputError(
                f"{len(names)} LoRAs are more than the {self._most} that this service loads",
                cure="name fewer, or start it with a higher RJEPA_MAX_LORAS",
            )
        await self._apart(lambda: self._reload(tuple(names), who, reason, despite_gate))

    async def unload(self, name: str, *, who: str, reason: str, action: Action = "unload") -> None:
        """Take one out. Answers that are being written with it come to their end.

        Raises:
            GoneError: it is not served.
            RjepaError: somebody else changed the set meanwhile; no database.
        """
        await self._apart(lambda: self._unload(name, who, reason, action))

    async def moves(self) -> list[LoraMove]:
        """The newest changes, newest first."""
        return await self._database.ask(lambda database: list_moves(database, self._place.llm_tag))

    async def health(self) -> dict[str, LoraHealth]:
        """How each loaded LoRA does beside the base, by name."""
        base = self._host.engine().release_id
        watched = {
            name: (loaded.answerer.release_id, self._set.loras[name].since_ms)
            for name, loaded in self._loaded.items()
            if name in self._set.loras
        }
        if not watched:
            return {}

        def look(database: Database) -> dict[str, LoraHealth]:
            since = min(since for _, since in watched.values()) - BEFORE_MS
            windows = read_windows(database, self._place.llm_tag, since)
            return {name: look_at_lora(windows, release, base, since) for name, (release, since) in watched.items()}

        return await self._database.ask(look)

    async def _reload(self, names: tuple[str, ...], who: str, reason: str, despite_gate: bool) -> None:
        before = await self._database.ask(lambda database: read_served(database, self._place.llm_tag))
        opened: dict[str, LoadedLora] = {}
        try:
            for name in names:
                opened[name] = await self.opener.open(name, self._loaded.get(name))
                if not despite_gate:
                    await asyncio.to_thread(self.opener.ask_gate, opened[name])
            hashes = {name: one.sha256 for name, one in opened.items()}
            served = await self._write(hashes, before.move, "reload", names, who, reason)
        except BaseException as error:
            self._discard(opened)
            _LOG.warning("loras_not_loaded", names=names, problem=getattr(error, "problem", type(error).__name__))
            raise
        self._swap(opened, served, {})

    async def _unload(self, name: str, who: str, reason: str, action: Action) -> None:
        before = await self._database.ask(lambda database: read_served(database, self._place.llm_tag))
        hashes = before.hashes
        if hashes.pop(name, None) is None:
            raise GoneError(f"the LoRA {name[:64]!r} is not served", cure="see GET /v1/lora for those that are")
        served = await self._write(hashes, before.move, action, (name,), who, reason)
        left = {other: one for other, one in self._loaded.items() if hashes.get(other) == one.sha256}
        self._swap(left, served, {other: why for other, why in self._failed.items() if other in hashes})

    async def _write(
        self, hashes: Mapping[str, str], after: int, action: Action, names: tuple[str, ...], who: str, reason: str
    ) -> ServedSet:
        llm_tag = self._place.llm_tag
        return await self._database.ask(
            lambda database: move_served(
                database,
                llm_tag,
                hashes,
                after=after,
                action=action,
                names=names,
                who=who,
                reason=reason,
            )
        )

    async def _follow(self) -> None:
        await self._apart(self._catch_up)

    async def _catch_up(self) -> None:
        """Serve what the database says, as far as it can be opened: what cannot is named in `failed`."""
        base = self._host.state.engine
        if base is None:
            return
        served, releases = await self._database.ask(self._look)
        source = getattr(base, "source", None)
        fresh = all(one.base is source and one.opened.release == releases[name] for name, one in self._loaded.items())
        if fresh and served.hashes == {name: one.sha256 for name, one in self._loaded.items()}:
            self._set, self._failed = served, {}
            await self._renew()
            return
        if served.move == self._set.move and fresh and time.monotonic() < self._retry_at:
            return
        opened: dict[str, LoadedLora] = {}
        failed: dict[str, Failure] = {}
        for name, wanted in served.loras.items():
            try:
                found = await self.opener.open(name, self._loaded.get(name))
                if found.sha256 != wanted.sha256:
                    self._discard({name: found})
                    raise LoraRefusedError(
                        f"the LoRA {name} is another one by now than was loaded",
                        cure="load it by its name: POST /v1/lora/reload",
                    )
                opened[name] = found
            except RjepaError as error:
                failed[name] = Failure(error.problem, error.cure)
                if self._failed.get(name) != failed[name]:
                    _LOG.error("lora_not_loaded", lora=name, problem=error.problem, cure=error.cure)
                old = self._loaded.get(name)
                if old is not None and old.sha256 == wanted.sha256 and old.base is source:
                    opened[name] = old
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        self._swap(opened, served, failed)

    async def _renew(self) -> None:
        """Look now and then whether an endpoint still has what it should."""
        if time.monotonic() < self._renew_at:
            return
        self._renew_at = time.monotonic() + _RENEW_SECONDS
        for loaded in self._loaded.values():
            await asyncio.to_thread(loaded.opened.renew)

    def _look(self, database: Database) -> tuple[ServedSet, dict[str, str | None]]:
        """What should be served, and the current releases of what is."""
        from rjepa.with_lora import release_of

        served = read_served(database, self._place.llm_tag)
        names = list(self._loaded)
        return served, {name: release_of(self._place.home, self._place.llm_tag, name) for name in names}

    def _swap(self, opened: Mapping[str, LoadedLora], served: ServedSet, failed: dict[str, Failure]) -> None:
        """Serve these from the next request on."""
        old, self._loaded, self._set, self._failed = self._loaded, dict(opened), served, failed
        kept = set(self._loaded.values())
        for loaded in old.values():
            if loaded not in kept:
                loaded.retired = True
                self._let_go(loaded)
        if old.keys() != self._loaded.keys() or any(old[name] is not one for name, one in self._loaded.items()):
            _LOG.info("loras_served", loras=sorted(self._loaded), move=served.move)

    def _discard(self, opened: Mapping[str, LoadedLora]) -> None:
        """Let go what was opened and is not served."""
        served = set(self._loaded.values())
        for loaded in opened.values():
            if loaded not in served:
                loaded.retired = True
                self._let_go(loaded)

    def _let_go(self, loaded: LoadedLora) -> None:
        """Tell the endpoint, once nobody is answered with it any more."""
        if not loaded.retired or loaded.answering or loaded.opened.at_endpoint is None:
            return
        self._keep(asyncio.create_task(self._close(loaded, loaded.opened.at_endpoint.name)))

    async def _close(self, loaded: LoadedLora, there: str) -> None:
        """Close it, unless it is loaded again by now, by the name that it has at the endpoint."""
        try:
            async with self._changing:
                mine = [one.opened.at_endpoint for one in self._loaded.values()]
                if all(one is None or one.name != there for one in mine):
                    await asyncio.to_thread(loaded.opened.close)
        except RjepaError as error:
            _LOG.warning("lora_not_unloaded", lora=loaded.name, problem=error.problem, cure=error.cure)

    async def _mind_health(self) -> None:
        """Take out what fell, where the settings let releases be taken back without a person."""
        if not self._loaded or self._host.state.engine is None:
            return
        fallen = {name: one for name, one in (await self.health()).items() if one.verdict == "fell"}
        if not fallen or not (await self._database.ask(read_settings)).automatic_rollback:
            return
        for name, found in fallen.items():
            _LOG.warning("lora_fell", lora=name, reason=found.text)
            with contextlib.suppress(GoneError):  # another process was faster
                await self.unload(name, who=RULE, reason=f"worse than its base: {found.text}", action="health")

    async def _repeat(self, name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            found: Failure | None = None
            try:
                await work()
            except RjepaError as error:
                found = Failure(error.problem, error.cure)
            except Exception as error:  # noqa: BLE001 - the watcher outlives whatever a disk or an endpoint does
                problem = f"LoRAs cannot be looked after ({type(error).__name__})"
                found = Failure(problem, "see the service's log")
                if self._trouble.get(name) != found:
                    _LOG.error("loras_failed", exc_info=error)
            if found is None:
                self._trouble.pop(name, None)
            elif found != self._trouble.get(name):
                _LOG.error("loras_not_looked_after", what=name, problem=found.problem, cure=found.cure)
                self._trouble[name] = found
            await asyncio.sleep(seconds)

    async def _apart(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it alone, to its end even if the client leaves, and beside the limits of its request."""

        async def alone() -> None:
            set_current_request(RequestInfo(client=OWN_CLIENT))
            async with self._changing:
                await work()

        task = asyncio.create_task(alone())
        self._keep(task)
        await asyncio.shield(task)

    def _keep(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited for it has it; a client that left does not ask for it
