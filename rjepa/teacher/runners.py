"""Which process runs a job, and whether it still lives: a job has one runner at a time.

A process of this machine is looked at. One of another machine, or of another container, cannot be seen: it counts as
alive until the moment that it wrote last, and it writes a later one every few seconds. What happens to a job whose
runner died is `ledger`'s matter; so is that a runner which was only thought dead writes no more.
"""

import os
import socket
from pathlib import Path
from typing import Final

import psutil

LEASE_MS: Final = 60_000
"""How long a runner that cannot be seen counts as alive after its last word."""
RENEWAL_SECONDS: Final = 15.0
"""A quarter of the lease, so that three renewals in a row may come late."""
_SAME_START_SECONDS: Final = 2.0
"""Start times of one process that are read twice differ by rounding; a process number does not come round so soon."""


def this_process() -> str:
    """This process as text: its machine (and container), its number and its start."""
    return f"{_machine()}|{os.getpid()}|{psutil.Process().create_time():.2f}"


def is_alive(process: str, until_ms: int, now_ms: int) -> bool:
    """Whether the runner that noted itself as `process` lives. `until_ms` is the end of the lease that it noted."""
    machine, number, started = process.rsplit("|", 2)
    if machine != _machine():
        return now_ms < until_ms
    try:
        found = psutil.Process(int(number))
        is_same = bool(abs(found.create_time() - float(started)) < _SAME_START_SECONDS)
        return is_same and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _machine() -> str:
    """This machine and, in a container, which: process numbers mean something within both only."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{namespace.stat().st_ino if namespace.exists() else ''}"
