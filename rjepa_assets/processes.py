"""Which process works on a run, and what becomes of runs whose process died or was asked to stop.

Dagster leaves a run that was killed in the state STARTED, with its pool slot, for ever. Every stage therefore writes
its process into the run's tags, and the next process to start fails the runs whose process is gone.
"""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Final

import dagster as dg
import psutil

PROCESS_TAG: Final = "rjepa/process"
"""`host/pid/start time`: a pid alone may be given to another process later."""

PARTITION_TAG: Final = "dagster/partition"
"""Its partition, and under `/<dimension>` each of two dimensions. The UI's own runs carry the same."""

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


def cancel_runs_of(instance: dg.DagsterInstance, process: Process) -> None:
    """End the processes that a process has started, and mark the runs it works on as cancelled."""
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()  # as `kill -9` may at any time: whatever is written is written whole
    for record in instance.get_run_records(dg.RunsFilter(statuses=_IN_PROGRESS, tags={PROCESS_TAG: process.tag()})):
        instance.report_run_canceled(record.dagster_run, "Someone stopped it. Run it again to go on.")
        instance.event_log_storage.free_concurrency_slots_for_run(record.dagster_run.run_id)


@contextlib.contextmanager
def children_can_be_ended() -> Iterator[None]:
    """Where SIGINT is ignored, as in a shell's background job, go on ignoring it, but not for the processes that start.

    What a process ignores its children ignore, and Dagster lets SIGTERM follow SIGINT: its helpers, which mirror what
    a step prints, could then not be ended and would hold the output of this command open for ever. SIGTERM stops it.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            raise KeyboardInterrupt

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
