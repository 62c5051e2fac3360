"""A queue that is fair between clients: each in turn has one job begun, however many others wait with it.

Jobs that write chains run side by side, as many rows as the student has room for. One client's jobs take at most a
share of it, so that another's first job need not wait for one of them to end.
"""

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

_SHARE: Final = 0.75
"""Largest share of the rows that one client has: a quarter stays for those who have none."""


@dataclass(eq=False)
class Job:
    """Work for a client: `turn` is called until it returns True.

    rows: chains that are decoded for it at a time, 0 where it is done in one turn. counts: whether its time says how
    long others take. begun: when it first ran, as `time.monotonic` counts.
    """

    client: str
    turn: Callable[[], bool]
    rows: int = 0
    counts: bool = True
    begun: float = 0.0
    state: Literal["waiting", "running", "done", "dropped"] = "waiting"


class FairQueue:
    """Jobs of many clients, for one thread that takes them."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Job]] = OrderedDict()
        self._rows: Counter[str] = Counter()  # of the jobs that run, by client
        self._changed = threading.Condition()
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether no job is taken in any more."""
        return self._closed

    def put(self, job: Job) -> None:
        """Add a job to its client's line. A queue that is closed drops it."""
        with self._changed:
            if self._closed:
                job.state = "dropped"
                return
            self._lines.setdefault(job.client, deque()).append(job)
            self._changed.notify()

    def take(self, most_rows: int, *, wait: bool) -> Job | None:
        """The oldest job of the client whose turn it is, if there is one and room for its rows; None when the queue is
        closed. Whoever has its share of the rows is passed over; nobody passes one whose turn it is and who waits for
        room. A job that is larger than all room runs alone.

        Args:
            wait: until there is one: for a thread that runs none.
        """
        if not wait and not self._lines:
            return None  # asked after each pass: a lock each time would cost more than all else of a round
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._lines or self._closed)
            client = None if self._closed else self._next(most_rows)
            if client is None:
                return None
            line = self._lines[client]
            job = line.popleft()
            if line:
                self._lines.move_to_end(client)
            else:
                del self._lines[client]
            job.state = "running"
            self._rows[client] += job.rows
            return job

    def _next(self, most_rows: int) -> str | None:
        total = self._rows.total()
        for client, line in self._lines.items():
            rows, own = line[0].rows, self._rows[client]
            if rows and own and own + rows > _SHARE * most_rows:
                continue
            return None if rows and total and total + rows > most_rows else client
        return None

    def end(self, job: Job) -> None:
        """A job that was taken is over: its rows are free."""
        with self._changed:
            job.state = "done"
            self._rows[job.client] -= job.rows
            if not self._rows[job.client]:
                del self._rows[job.client]

    def drop(self, job: Job) -> None:
        """Take a job back that waits; one that runs or is done is left alone."""
        with self._changed:
            line = self._lines.get(job.client)
            if job.state != "waiting" or line is None:
                return
            line.remove(job)
            job.state = "dropped"
            if not line:
                del self._lines[job.client]

    def close(self) -> None:
        """Drop what waits, and let the threads that take jobs end."""
        with self._changed:
            for line in self._lines.values():
                for job in line:
                    job.state = "dropped"
            self._lines.clear()
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """How many jobs wait."""
        with self._changed:
            return sum(map(len, self._lines.values()))
