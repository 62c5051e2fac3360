"""Ops that start a command of `rjepa` and follow it to its end: its lines become the run's log."""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final

import dagster as dg

from rjepa.processes import end_process

_TAIL: Final = 20
"""Last lines of a command that failed, which its failure shows."""


def follow(context: dg.OpExecutionContext, arguments: Sequence[str]) -> None:
    """Run `rjepa` with these arguments.

    Raises:
        dg.Failure: it failed; its last lines are shown.
    """
    last: deque[str] = deque(maxlen=_TAIL)
    with _started(["-m", "rjepa.cli.main", *arguments]) as process:
        try:
            for line in process.stdout or ():
                last.append(line)
                context.log.info(line.rstrip())
            code = process.wait()
        finally:
            end_process(process)
    if code:
        raise dg.Failure(description="".join(last), allow_retries=False)


def _started(arguments: Sequence[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
