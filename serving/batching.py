"""The one thread that belongs to the engine: it takes jobs in fair turns, and lets those that write run side by side.

A job is called again and again until it is over, and each call is one turn: of an answer, one forward pass. Answers
that run at the same time share their passes (`rjepa.reasoning.answering.Desk`), so that whoever comes while others are
answered waits for a token and not for an answer. What a turn gives to the event loop goes there once a round.
"""

import asyncio
import contextlib
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Final

from rjepa.reasoning.events import Text, Working
from serving.fairness import FairQueue, Job

_RECENT: Final = 20
"""Jobs whose mean says how long the next one will take."""

_PIECE_SECONDS: Final = 1 / 30
"""Text that is written so soon after the last piece goes out with the next one: thirty a second look like a flow, and
the way of a piece to the client costs as much as a small student's token."""


class EngineThread:
    """A thread, the jobs that wait for it, and those that run."""

    def __init__(self, most_rows: Callable[[], int]) -> None:
        """`most_rows` says how many rows all jobs that run may have together."""
        self._most_rows = most_rows
        self._jobs = FairQueue()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._outbox: list[tuple[asyncio.Queue[Any], Any]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self._jobs)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to work. What turns give is put into queues of this loop."""
        self._loop = loop
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Drop what waits, let what runs come to its end, and wait so long for that."""
        self._jobs.close()
        self._thread.join(seconds)

    def submit(self, client: str, turn: Callable[[], bool], rows: int = 0, *, counts: bool = True) -> Job:
        """Queue a job, to be run with the context of now: its log lines know their request. `turn` is called until it
        gives True. A queue that was stopped drops the job.

        Args:
            rows: chains that it has decoded at a time; none for work of one turn.
            counts: whether its time says how long others take.
        """
        context = contextvars.copy_context()
        job = Job(client, lambda: context.run(turn), rows, counts=counts)
        self._jobs.put(job)
        return job

    def drop(self, job: Job) -> None:
        """Take a job back that waits."""
        self._jobs.drop(job)

    def put(self, queue: "asyncio.Queue[Any]", item: Any) -> None:
        """From a turn: give the event loop something, with the end of the round."""
        self._outbox.append((queue, item))

    def seconds_a_job(self) -> float:
        """How long until one more of the jobs that run has ended, on average of the recent ones; a second where there
        was none.
        """
        recent = list(self._recent)
        return sum(recent) / len(recent) if recent else 1.0

    def _work(self) -> None:
        running: list[Job] = []
        while True:
            job = self._jobs.take(self._most_rows(), wait=not running)
            while job is not None:
                job.begun = time.monotonic()
                running.append(job)
                if self._turn(job, running) and not job.rows:
                    break  # it may have taken long: those that run come first
                job = self._jobs.take(self._most_rows(), wait=False)
            if not running and self._jobs.is_closed:
                return
            for job in list(running):
                self._turn(job, running)
            self._deliver()

    def _turn(self, job: Job, running: list[Job]) -> bool:
        if not job.turn():
            return False
        if job.counts:
            self._recent.append((time.monotonic() - job.begun) / len(running))
        running.remove(job)
        self._jobs.end(job)
        self._deliver()
        return True

    def _deliver(self) -> None:
        items, self._outbox = self._outbox, []
        if items and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: no one listens any more
                self._loop.call_soon_threadsafe(_put_all, items)


class Stream:
    """A job that makes events. One turn runs to the next `Working`, whose tokens are counted here; the queue gets the
    events that are wanted, then an exception or None. Pieces of text that follow each other fast are joined.
    """

    def __init__(
        self,
        thread: EngineThread,
        work: Callable[[], Generator[tuple[int, Any], None, None]],
        stopped: Callable[[], Exception | None],
        wanted: type | tuple[type, ...] | None = None,
    ) -> None:
        """`stopped` gives the error to end with, where no more is to be done. Only events of the `wanted` kinds are put
        into the queue: to wake the event loop for a token costs as much as a small student's token.
        """
        self.queue: asyncio.Queue[tuple[int, Any] | Exception | None] = asyncio.Queue()
        self.abandoned = False
        self.tokens = 0
        self._thread, self._work, self._stopped, self._wanted = thread, work, stopped, wanted
        self._events: Generator[tuple[int, Any], None, None] | None = None
        self._pieces: dict[int, list[Text]] = {}  # by question: what is held back
        self._told_at = float("-inf")  # when the last event went into the queue

    def turn(self) -> bool:
        """Go on; True where it is over."""
        end: Exception | None = self._stopped()
        try:
            if end is None and not self.abandoned:
                self._events = self._events or self._work()
                for index, event in self._events:
                    if isinstance(event, Working):
                        self.tokens += event.tokens
                        self._tell_pieces()
                        return False
                    if self._wanted is None or isinstance(event, self._wanted):
                        self._take(index, event)
                    if self.abandoned:
                        break
            if self._events is not None:
                self._events.close()
        except Exception as error:  # noqa: BLE001 - it is raised again where the events are awaited
            end = error
        self._tell_pieces(all_of_them=True)
        self._thread.put(self.queue, end)
        return True

    def _take(self, index: int, event: Any) -> None:
        if isinstance(event, Text):
            self._pieces.setdefault(index, []).append(event)
            return
        self._tell_pieces(all_of_them=True)
        self._thread.put(self.queue, (index, event))

    def _tell_pieces(self, *, all_of_them: bool = False) -> None:
        """Tell the text that is held back, if it is time."""
        if not self._pieces:
            return
        now = time.monotonic()
        if not all_of_them and now - self._told_at < _PIECE_SECONDS:
            return
        self._told_at = now
        for index, pieces in self._pieces.items():
            self._thread.put(self.queue, (index, _join(pieces)))
        self._pieces = {}


def _join(pieces: list[Text]) -> Text:
    if len(pieces) == 1:
        return pieces[0]
    return Text("".join(one.text for one in pieces), tuple(token for one in pieces for token in one.tokens))


def _put_all(items: list[tuple["asyncio.Queue[Any]", Any]]) -> None:
    for queue, item in items:
        queue.put_nowait(item)
