"""Worker processes that can be killed: a request goes in as one JSON line, an answer or why there is none comes out.

A worker is `python -m MODULE`, started when first needed and kept for the next request. What a worker computes lives in
its module (`rjepa.validation.maths_worker`), which calls `serve` from here. Nothing is pickled, nothing is forked, and
any thread may ask.

A worker that passes its bounds is killed and a new one takes its place. Every bound is held twice: by the parent, which
waits no longer than `wall_seconds`, and inside the worker by the kernel (address space, and timers whose default action
ends the process even while C code holds the interpreter), so that a worker whose parent was killed ends by itself.
"""

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from rjepa.errors import RjepaError

MAX_LINE: Final = 1 << 20
"""Bytes of a request. A worker that is idle reads all of it, so that writing one does not block for long."""

_STARTUP_SECONDS = 120  # importing sympy on a machine that is busy with something else
_MAX_REPLY = 1 << 20


class WorkerError(RjepaError):
    """A worker process cannot be started."""


@dataclass(frozen=True)
class Bounds:
    """What one request may use, and after how many requests a worker is replaced (sympy's caches only grow)."""

    cpu_seconds: float = 5.0
    wall_seconds: float = 20.0
    memory_mib: int = 2048
    requests: int = 2000


DEFAULT_BOUNDS: Final = Bounds()

_interpreter = sys.executable


def use_interpreter(python: Path) -> None:
    """Start workers with this Python from now on: a student's own environment lacks the checkers' libraries."""
    global _interpreter
    _interpreter = str(python)


@dataclass(frozen=True)
class Reply:
    """`value` is what the worker answered; None where it was stopped (`timeout`) or ended twice by itself (`died`)."""

    reason: Literal["answered", "timeout", "died"]
    value: dict[str, Any] | None = None


class WorkerPool:
    """At most `workers` processes of one module. Use as a context manager, or call `close`."""

    def __init__(self, module: str, workers: int = 2, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self._module, self._bounds, self._size = module, bounds, workers
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._free = threading.Semaphore(workers)
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._closed = False

    def ask(self, request: dict[str, Any]) -> Reply:
        """Send one request and wait. A worker that somebody else killed is replaced and the request asked again, once.

        Raises:
            WorkerError: no worker can be started.
            ValueError: the request is longer than MAX_LINE, or the pool is closed.
        """
        line = json.dumps(request).encode() + b"\n"
        if len(line) > MAX_LINE:
            raise ValueError(f"a request of {len(line)} bytes; at most {MAX_LINE}")
        with self._free:
            for _ in range(2):
                worker = self._take()
                try:
                    reply = worker.ask(line)
                except BaseException:
                    worker.kill()
                    raise
                finally:
                    self._give_back(worker)
                if reply.reason != "died" or self._closed:
                    break
        return reply

    def ask_all(self, requests: list[dict[str, Any]]) -> list[Reply]:
        """One reply for each request, in order, with every worker busy."""
        with ThreadPoolExecutor(self._size) as threads:
            return list(threads.map(self.ask, requests))

    def pids(self) -> list[int]:
        """The processes that are alive now."""
        with self._lock:
            return [worker.pid for worker in [*self._idle, *self._busy] if worker.alive]

    @property
    def usable(self) -> bool:
        """False once closed, and in a child that was forked with the pool in its memory."""
        return not self._closed and self._owner == os.getpid()

    def close(self) -> None:
        """End every process. Requests under way are answered `died`."""
        if self._owner != os.getpid():
            return
        with self._lock:
            self._closed = True
            idle, busy = [*self._idle], [*self._busy]
            self._idle.clear()
        for worker in idle:
            worker.kill()
        for worker in busy:
            worker.end()  # its pipes belong to the thread that waits for it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _take(self) -> "_Worker":
        with self._lock:
            if not self.usable:
                raise ValueError("this pool is closed")
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    break
                worker.kill()
            else:
                worker = _Worker(self._module, self._bounds)
            self._busy.add(worker)
            return worker

    def _give_back(self, worker: "_Worker") -> None:
        with self._lock:
            self._busy.discard(worker)
            keep = worker.alive and not self._closed and worker.asked < self._bounds.requests
            if keep:
                self._idle.append(worker)
        if not keep:
            worker.kill()


class _Worker:
    """One process. Not for two threads at a time."""

    def __init__(self, module: str, bounds: Bounds) -> None:
        self._bounds, self._module, self._ready, self.asked = bounds, module, False, 0
        self._process = subprocess.Popen(
            [_interpreter, "-m", module, json.dumps(asdict(bounds))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, line: bytes) -> Reply:
        if not self._ready:
            if not self._read_line(_STARTUP_SECONDS):
                self.kill()
                raise WorkerError(
                    f"a worker process ({self._module}) did not start: exit code {self._process.returncode}",
                    cure=f"run `{_interpreter} -m {self._module} '{{}}'` to see why, and install what is missing",
                )
            self._ready = True
        self.asked += 1
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            answer = self._read_line(self._bounds.wall_seconds)
        except OSError:
            answer = b""
        if answer:
            value = json.loads(answer)
            if "retire" in value:
                self.kill()
            return Reply("answered", value)
        overrun = answer is None
        self.kill()
        stopped = overrun or self._process.returncode in (-signal.SIGPROF, -signal.SIGALRM)
        return Reply("timeout") if stopped else Reply("died")

    def end(self) -> None:
        """End the process now and leave no zombie. Any thread may call this."""
        self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """End the process and let go of its pipes."""
        self.end()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read_line(self, seconds: float) -> bytes | None:
        """The next line; b"" where the process ended; None where none came in time."""
        assert self._process.stdout is not None
        deadline, line = time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                return None
            piece = os.read(self._process.stdout.fileno(), 1 << 16)
            if not piece or len(line) > _MAX_REPLY:
                return b""
            line += piece
        return line


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]], bounds: Bounds) -> None:
    """The loop of a worker, to be called after its imports: until stdin ends, read a request and write its answer.

    An answer with the key `retire` is the worker's last.
    """
    requests, replies = sys.stdin.buffer, os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # a stray print must not look like an answer
    memory = bounds.memory_mib << 20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    os.write(replies, b"ready\n")
    for line in requests:
        # Nothing handles these signals, so the kernel ends the process, whatever it is doing.
        signal.setitimer(signal.ITIMER_PROF, bounds.cpu_seconds)
        signal.setitimer(signal.ITIMER_REAL, bounds.wall_seconds + 2)
        reply = answer(json.loads(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(replies, json.dumps(reply).encode() + b"\n")
        if "retire" in reply:
            return
