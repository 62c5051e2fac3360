"""A queue that is fair between clients: each in turn has one job done, however many others wait with it."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Job:
    """Work for a client. `state` is waiting, running, done or dropped."""

    client: str
    work: Callable[[], None]
    state: str = field(default="waiting")


class FairQueue:
    """Jobs of many clients, for one or more threads that take them."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Job]] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, job: Job) -> None:
        """Add a job to its client's line. A queue that is closed drops it."""
        with self._changed:
            if self._closed:
                job.state = "dropped"
                return
            self._lines.setdefault(job.client, deque()).append(job)
            self._changed.notify()

    def take(self) -> Job | None:
        """The oldest job of the client whose turn it is, once there is one; None when the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closed)
            if self._closed:
                return None
            client, line = next(iter(self._lines.items()))
            job = line.popleft()
            if line:
                self._lines.move_to_end(client)
            else:
                del self._lines[client]
            job.state = "running"
            return job

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
