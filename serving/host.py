"""Hold the engine: load what the release points at, swap it when the pointer moves, run one request at a time."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from rjepa.errors import NotFoundError, RjepaError
from rjepa.home import Home
from rjepa.reasoning.answer import Answer, Example
from rjepa.reasoning.events import Event, Working
from rjepa.reasoning.question import Question
from rjepa.receipts import Receipt
from rjepa.releases.pointer import current_release, require_current
from serving.errors import BusyError, NotReadyError

_LOG = structlog.get_logger("serving")
_RETRY_SECONDS = 30.0
"""A release that failed to load is tried again after this long even if the pointer has not moved: the cause may be
memory or a disk."""

Value = TypeVar("Value")


class AnswersQuestions(Protocol):
    """What the service needs of `rjepa.engine.Engine`."""

    llm_tag: str
    release_id: str
    sampling_temperature: float

    @property
    def modes(self) -> tuple[str, ...]:
        """Names of the modes that it can answer in."""

    def check(self, question: Question) -> None:
        """Raise if the question cannot be answered."""

    def run_many(self, questions: Sequence[Question]) -> Generator[tuple[int, Event], None, None]:
        """Answer them, event by event with the index of the question; closing the iterator stops the work."""

    def receipt(self, question: Question, answer: Answer, *, keep_question: bool = False) -> Receipt:
        """What anybody needs to generate the answer again."""

    def examples(self, limit: int) -> list[Example]:
        """Problems to offer."""

    def info(self) -> dict[str, Any]:
        """What is loaded, as plain JSON values."""

    def warm_up(self) -> None:
        """Do what is done once."""


class EngineLoader(Protocol):
    """Loads and verifies a release; None is what `CURRENT` points at. The engine in use is passed so that its student
    can be kept.
    """

    def __call__(self, previous: AnswersQuestions | None, release_id: str | None = None) -> AnswersQuestions: ...


@dataclass(frozen=True)
class HostState:
    """What the host is doing. `reload` is ok, loading or failed; an engine may be served while a reload has failed."""

    engine: AnswersQuestions | None
    reload: str
    error: RjepaError | None


class EngineHost:
    """One engine, one worker thread, a bounded queue."""

    def __init__(
        self, home: Home, llm_tag: str, loader: EngineLoader, *, max_waiting: int, reload_seconds: float
    ) -> None:
        self._home = home
        self._llm_tag = llm_tag
        self._loader = loader
        self._max_waiting = max_waiting
        self._reload_seconds = reload_seconds
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._waiting = 0
        self._stopping = threading.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._failed: tuple[object, float] | None = None
        self.state = HostState(None, "loading", None)

    async def start(self) -> None:
        """Begin to load and to watch the pointer."""
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Let the running request end early, refuse the waiting ones, and free the thread."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        await asyncio.to_thread(self._worker.shutdown, wait=True, cancel_futures=True)

    def engine(self) -> AnswersQuestions:
        """The engine to answer with.

        Raises:
            NotReadyError: none is loaded yet; the cure is that of what went wrong.
        """
        if self.state.engine is not None:
            return self.state.engine
        if self.state.error is not None:
            raise NotReadyError(self.state.error.problem, cure=self.state.error.cure)
        raise NotReadyError("the release is being loaded", cure="try again in a few seconds")

    async def run(self, work: Callable[[], Value]) -> Value:
        """Run `work` in the engine's thread.

        Raises:
            BusyError: too many requests wait already.
        """
        with self._place():
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    async def events(
        self, work: Callable[[], Generator[tuple[int, Event], None, None]]
    ) -> AsyncGenerator[tuple[int, Event], None]:
        """Run the events that `work` makes in the engine's thread, and yield them; `Working` is left out.

        Closing this generator stops the work at its next event, between two tokens.

        Raises:
            BusyError: too many requests wait already.
            NotReadyError: the service was stopped meanwhile.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[int, Event] | Exception | None] = asyncio.Queue()
        abandoned = threading.Event()

        def put(item: tuple[int, Event] | Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: no one listens any more
                loop.call_soon_threadsafe(queue.put_nowait, item)

        def produce() -> None:
            try:
                if not abandoned.is_set() and not self._stopping.is_set():
                    with contextlib.closing(work()) as events:
                        for index, event in events:
                            if abandoned.is_set() or self._stopping.is_set():
                                break
                            if not isinstance(event, Working):
                                put((index, event))
                if self._stopping.is_set():
                    put(NotReadyError("the service is stopping", cure="try again when it is back"))
                put(None)
            except Exception as error:  # noqa: BLE001 - it is raised again where the events are awaited
                put(error)

        with self._place():
            done = loop.run_in_executor(self._worker, produce)
            try:
                while (item := await queue.get()) is not None:
                    if isinstance(item, Exception):
                        raise item
                    yield item
            finally:
                abandoned.set()
                done.cancel()

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._waiting >= self._max_waiting:
            raise BusyError(f"{self._waiting} requests wait for the model already", cure="try again in a few seconds")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _watch(self) -> None:
        while True:
            try:
                await self._refresh()
            except Exception as error:  # noqa: BLE001 - the watcher outlives whatever a disk or a release does
                self._fail(error)
            await asyncio.sleep(self._reload_seconds)

    async def _refresh(self) -> None:
        """Load the release that `CURRENT` names unless it is the one served. The old one stays if anything fails."""
        engine = self.state.engine
        mark = await asyncio.to_thread(self._mark)
        if engine is not None and mark[0] == engine.release_id:
            self.state = HostState(engine, "ok", None)
            return
        if self._failed is not None and self._failed[0] == mark and time.monotonic() < self._failed[1]:
            return
        self.state = HostState(engine, "loading", self.state.error)
        try:
            fresh = await asyncio.to_thread(self._load, engine)
            # Between requests: the fresh engine may share its student with the one that answers them.
            await asyncio.get_running_loop().run_in_executor(self._worker, fresh.warm_up)
        except Exception as error:  # noqa: BLE001 - whatever it is, the old release stays
            self._failed = (mark, time.monotonic() + _RETRY_SECONDS)
            self._fail(error)
            return
        self._failed = None
        self.state = HostState(fresh, "ok", None)
        where = fresh.info().get("device_reason")
        _LOG.info("release_loaded", llm=fresh.llm_tag, release=fresh.release_id, device=where)

    def _mark(self) -> tuple[str | None, int]:
        """What the pointer says, and when it was written."""
        path = self._home.releases(self._llm_tag) / "CURRENT"
        release_id = current_release(self._home, self._llm_tag)
        return release_id, path.stat().st_mtime_ns if release_id is not None else 0

    def _load(self, engine: AnswersQuestions | None) -> AnswersQuestions:
        require_current(self._home, self._llm_tag)
        return self._loader(engine)

    def _fail(self, error: Exception) -> None:
        known = error if isinstance(error, RjepaError) else None
        if known is None:
            known = RjepaError(
                f"the release could not be loaded ({type(error).__name__})", cure="see the service's log"
            )
        if self.state.error is None or self.state.error.problem != known.problem:
            quiet = isinstance(error, RjepaError)
            log = _LOG.info if isinstance(error, NotFoundError) else _LOG.error
            log("release_not_loaded", problem=known.problem, cure=known.cure, exc_info=None if quiet else error)
        self.state = HostState(self.state.engine, "failed", known)
