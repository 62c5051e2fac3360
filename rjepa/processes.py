"""What helper processes share: they end with their parent, or when asked to; stdout is for reports."""

import os
import subprocess
import sys
import threading
import time
from typing import Final, TextIO

_SECONDS_BETWEEN_LOOKS: Final = 1.0
_PATIENCE: Final = 5.0
"""Seconds that a process may take to end when asked to."""


def end_with_parent() -> None:
    """Begin to watch, in a thread, and end this process within a second or two of its parent's end, killed or not:
    nobody would read what it makes.
    """
    threading.Thread(target=_watch, args=(os.getppid(),), name="parent-watch", daemon=True).start()


def end_process(process: "subprocess.Popen[str]") -> None:
    """End it, if it still runs, and leave no zombie. It may be deaf to SIGTERM: Dagster lets that follow SIGINT, which
    background jobs ignore, and what a process ignores its children ignore too.
    """
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def claim_stdout() -> TextIO:
    """Stdout for our own lines alone: what libraries print (banners, bars of a compiler) goes to stderr from now on."""
    sys.stdout.flush()
    ours = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    return ours


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
