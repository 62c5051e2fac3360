"""Hold the engine: load what the release points at, swap it when the pointer moves, run requests in its thread.

One job is one request, with all of its questions or texts; those that write share the engine's passes.
`serving.batching` and `serving.fairness` give jobs their turns, `serving.limits` says how many may wait. A request
keeps the engine that it began with: a release that is swapped in meanwhile takes those that come after.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import structlog

from rjepa.errors import NotFoundError, RjepaError
from rjepa.home import Home
from rjepa.reasoning.answer import Answer, Example
from rjepa.reasoning.events import Done, Event
from rjepa.reasoning.question import Question
from rjepa.receipts import Receipt
from rjepa.releases.pointer import current_release, require_current
from serving.batching import EngineThread, Stream
from serving.context import RequestInfo, current_request
from serving.errors import NotReadyError, TimedOutError
from serving.fairness import Job
from serving.metrics import Metrics

_LOG = structlog.get_logger("serving")
_RETRY_SECONDS = 30.0
"""A release that failed to load is tried again after this long even if the pointer has not moved: the cause may be
memory or a disk."""
_STOP_SECONDS: Final = 5.0
"""A pass of the student takes less; a thread that hangs does not keep the process."""
OWN_CLIENT: Final = "release"
"""The client that the service's own work counts for: first answers of what was loaded."""

Value = TypeVar("Value")


class AnswersQuestions(Protocol):
    """What the service needs of `rjepa.engine.Engine`."""

    llm_tag: str
    release_id: str
    sampling_temperature: float

    @property
    def most_rows(self) -> int:
        """Chains that it decodes together at most."""

    @property
    def checks_at_once(self) -> bool:
        """Whether `check` asks no other process."""

    @property
    def modes(self) -> tuple[str, ...]:
        """Names of the modes that it can answer in."""

    def require_mode(self, name: str) -> None:
        """Raise if it does not offer a mode, with the reason and what would give it."""

    def check(self, question: Question) -> tuple[str, ...]:
        """Raise if the question cannot be answered; what of it is not read, in words."""

    def run_many(
        self, questions: Sequence[Question], *, shown: bool = True
    ) -> Generator[tuple[int, Event], None, None]:
        """Answer them, event by event with the index of the question; closing the iterator stops the work.
        What runs at the same time in the same thread shares its passes. Where the text is not `shown` while it is
        written, it need not come before the answer.
        """

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
    """One engine and its thread."""

    def __init__(
        self, home: Home, llm_tag: str, loader: EngineLoader, *, reload_seconds: float, metrics: Metrics | None = None
    ) -> None:
        self._home = home
        self._llm_tag = llm_tag
        self._loader = loader
        self._reload_seconds = reload_seconds
        self._metrics = metrics or Metrics()
        self._thread = EngineThread(self._most_rows)
        self._stopping = threading.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._failed: tuple[object, float] | None = None
        self.state = HostState(None, "loading", None)
        self._metrics.queue.set_function(lambda: len(self._thread))

    async def start(self) -> None:
        """Begin to load and to watch the pointer."""
        self._thread.start(asyncio.get_running_loop())
        self._watcher = asyncio.create_task(self._watch())

    def end_answers(self) -> None:
        """Let the running requests end early, and refuse those that wait."""
        self._stopping.set()

    async def stop(self) -> None:
        """End answers, and free the thread."""
        self.end_answers()
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        await asyncio.to_thread(self._thread.stop, _STOP_SECONDS)

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

    def seconds_a_job(self) -> float:
        """How long until one more of the jobs that run has ended, on average of the recent ones."""
        return self._thread.seconds_a_job()

    async def run(self, work: Callable[[], Value]) -> Value:
        """Run `work` in the engine's thread, between two passes of the answers that are written. Whoever stops waiting
        for it takes it back if it has not begun.

        Raises:
            TimedOutError: the request's time is up.
            NotReadyError: the service was stopped meanwhile.
        """
        request, result = current_request(), Future[Value]()

        def execute() -> None:
            if self._stopping.is_set():
                raise _stopped()
            result.set_result(work())

        job = self._submit(request.client, _once(execute, result))
        try:
            return await _within(request, asyncio.wrap_future(result))
        finally:
            self._thread.drop(job)

    async def events(
        self,
        work: Callable[[], Generator[tuple[int, Value], None, None]],
        rows: int = 1,
        wanted: type | tuple[type, ...] | None = None,
    ) -> AsyncGenerator[tuple[int, Value], None]:
        """Run the events that `work` makes in the engine's thread, beside those of others, and yield them; `Working` is
        left out.

        Closing this generator stops the work at its next event, between two tokens, or takes it out of the queue.
        Tokens are counted for the client of the request; of a request that is given up before any of its answers has
        ended, those that were drawn until then.

        Args:
            rows: chains that are decoded for it at a time.
            wanted: the kinds of events that are yielded; None for all but `Working`.

        Raises:
            TimedOutError: the request's time is up.
            NotReadyError: the service was stopped meanwhile.
        """
        request, loop = current_request(), asyncio.get_running_loop()
        stream = Stream(self._thread, work, lambda: _stopped() if self._stopping.is_set() else None, wanted)
        job, counted = self._submit(request.client, stream.turn, rows), False
        # One timer for the request: a timeout around each wait would cost more than the wait.
        left = request.seconds_left()
        timer = None if left is None else loop.call_later(left, stream.queue.put_nowait, _timed_out())
        try:
            while (item := await stream.queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                if isinstance(item[1], Done):
                    counted = True
                    self._count(request, item[1].answer)
                yield item
        finally:
            stream.abandoned = True
            self._thread.drop(job)
            if timer is not None:
                timer.cancel()
            if not counted and request.meter is not None:
                request.meter.spend(stream.tokens)

    def _submit(self, client: str, turn: Callable[[], bool], rows: int = 0) -> Job:
        job = self._thread.submit(client, turn, rows, counts=client != OWN_CLIENT)
        if job.state == "dropped":
            raise _stopped()
        return job

    def _most_rows(self) -> int:
        engine = self.state.engine
        return 1 if engine is None else engine.most_rows

    def _count(self, request: RequestInfo, answer: Answer) -> None:
        self._metrics.answered(answer)
        if request.meter is not None:
            request.meter.spend(answer.cost.tokens_generated + answer.cost.tokens_read)

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
            await self._warm_up(fresh)
        except Exception as error:  # noqa: BLE001 - whatever it is, the old release stays
            self._metrics.reloads.labels("failed").inc()
            self._failed = (mark, time.monotonic() + _RETRY_SECONDS)
            self._fail(error)
            return
        self._failed = None
        self.state = HostState(fresh, "ok", None)
        self._metrics.loaded(fresh.llm_tag, fresh.release_id)
        where = fresh.info().get("device_reason")
        _LOG.info("release_loaded", llm=fresh.llm_tag, release=fresh.release_id, device=where)

    async def _warm_up(self, engine: AnswersQuestions) -> None:
        done = Future[None]()

        def execute() -> None:
            engine.warm_up()
            done.set_result(None)

        self._submit(OWN_CLIENT, _once(execute, done))
        await asyncio.wrap_future(done)

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


def rows_of(questions: Sequence[Question]) -> int:
    """Chains that are decoded for these questions at a time, about."""
    return sum(question.options.rows for question in questions)


def _once(execute: Callable[[], None], result: "Future[Any]") -> Callable[[], bool]:
    """One turn of a job. What `execute` raises is raised where its result is awaited."""

    def turn() -> bool:
        try:
            execute()
        except BaseException as error:  # noqa: BLE001 - as above
            result.set_exception(error)
        return True

    return turn


def _stopped() -> NotReadyError:
    return NotReadyError("the service is stopping", cure="try again when it is back")


async def _within(request: RequestInfo, waiting: Awaitable[Value]) -> Value:
    """What is awaited, if it comes before the request's time is up."""
    try:
        async with asyncio.timeout(request.seconds_left()):
            return await waiting
    except TimeoutError:
        raise _timed_out() from None


def _timed_out() -> TimedOutError:
    return TimedOutError(
        "the answer took longer than a request may", cure="ask for fewer candidates or tokens, or ask again later"
    )
