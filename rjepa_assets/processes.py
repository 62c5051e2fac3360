"""Which process works on a run, what became of runs whose process died, and how a process is told to stop.

Dagster leaves a run that was killed in the state STARTED, with its pool slot, for ever. Every stage therefore writes
its process into the run's tags, and whoever starts next fails the runs whose process is gone.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import dagster as dg
import psutil

PROCESS_TAG: Final = "rjepa/process"
"""`host/pid/start time`: a pid alone may be given to another process later."""

_IN_PROGRESS: Final = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Not QUEUED: such a run waits for the daemon, and no process has it yet."""


@dataclass(frozen=True)
class Process:
    """One process of one machine, in seconds since 1970 for its start."""

    host: str
    pid: int
    started: float

    @classmethod
    def current(cls) -> "Process":
        me = psutil.Process()
        return cls(socket.gethostname(), me.pid, me.create_time())

    @classmethod
    def parse(cls, tag: str) -> "Process | None":
        """Read a tag back; None if something else wrote it."""
        try:
            host, pid, started = tag.rsplit("/", 2)
            return cls(host, int(pid), float(started))
        except ValueError:
            return None

    def tag(self) -> str:
        return f"{self.host}/{self.pid}/{self.started:.2f}"

    def is_gone(self) -> bool:
        """True if it ran on this machine and does not any more. Processes of other machines are not judged."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1.0
            return not same or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


def claim(instance: dg.DagsterInstance, run_id: str) -> None:
    """Write this process into the tags of the run it works on."""
    instance.add_run_tags(run_id, {PROCESS_TAG: Process.current().tag()})


def fail_abandoned_runs(instance: dg.DagsterInstance, *, unclaimed: bool = False) -> list[str]:
    """Mark runs whose process is gone as failed and give their pool slots back. Returns their ids.

    `unclaimed` also fails runs that no process has claimed: only for a caller that knows that nothing else is running.
    """
    failed = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_IN_PROGRESS)):
        run = record.dagster_run
        tag = run.tags.get(PROCESS_TAG)
        process = None if tag is None else Process.parse(tag)
        if process.is_gone() if process is not None else unclaimed:
            instance.report_run_failed(run, "The process that worked on this run is gone. Run it again to go on.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            failed.append(run.run_id)
    return failed


@contextlib.contextmanager
def insistent_interrupt(every: float = 3.0) -> Iterator[None]:
    """SIGINT comes again, `every` so many seconds, until what it is to stop has been left. For the main thread.

    An interrupt can be lost: Python drops what is raised in a weak reference's callback (it collects garbage when a
    stage begins: of 30 Ctrl-C in the first 1.5 seconds 11 went there), SQLAlchemy's pool logs it, and Dagster forgets
    it where a run is about to end. No traceback is printed of one that Python dropped.
    """
    heard, told = socket.socketpair()
    left = threading.Event()
    told.setblocking(False)  # a wakeup descriptor must be

    def repeat() -> None:
        while signal.SIGINT not in heard.recv(1):
            if left.is_set():
                return
        while not left.wait(every):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    hook = sys.unraisablehook

    def silent_of_interrupts(lost: "sys.UnraisableHookArgs") -> None:
        if not issubclass(lost.exc_type, (KeyboardInterrupt, dg.DagsterExecutionInterruptedError)):
            hook(lost)

    sys.unraisablehook = silent_of_interrupts
    repeating = threading.Thread(target=repeat, daemon=True)
    repeating.start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        sys.unraisablehook = hook
        told.send(b"\0")
        repeating.join()
        heard.close()
        told.close()
