"""Run the real `rjepa` command in a process of its own, to its end or to a signal."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SMOKE = ("--dataset", "smoke", "--recipe", "smoke")
_LINE = re.compile(r"^\[ *\d+/\d+\] (\w+) (\S+): (\.\.\.|is up to date|done in .*)$", re.MULTILINE)


@dataclass(frozen=True)
class Ran:
    """One `rjepa` command that ended. `fates` says of each asset "done" or "is up to date"."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def fates(self) -> dict[str, str]:
        return {asset: what.split(" in ")[0] for asset, _, what in _LINE.findall(self.stderr) if what != "..."}


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "RJEPA_HOME": str(home), "RJEPA_THREADS": "1", "PYTHONWARNINGS": "error"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "rjepa.cli.main", *arguments]


def rjepa(home: Path, *arguments: str, patience: float = 600) -> Ran:
    """Run the real command in a process of its own, for so many seconds at most."""
    before = time.monotonic()
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=patience, env=environment(home))
    return Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - before)


def kill_in(home: Path, asset: str, delay: float, number: signal.Signals, *arguments: str) -> Ran:
    """Start the command and send it a signal so many seconds after it has begun `asset`.

    A file that a library was just opening then stays unclosed: Python tells nobody by default, and not here.
    """
    log = home.parent / f"{home.name}-{asset}.log"
    before = time.monotonic()
    with log.open("w") as stream:
        process = subprocess.Popen(
            command(*arguments),
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env=environment(home) | {"PYTHONWARNINGS": "error,ignore::ResourceWarning"},
            preexec_fn=_take_interrupts,
        )
        try:
            while f"] {asset} " not in log.read_text():
                assert process.poll() is None and time.monotonic() - before < 300, log.read_text()
                time.sleep(0.02)
            time.sleep(delay)
            process.send_signal(number)
            code = process.wait(60)
        finally:
            process.kill()
            process.wait()
    return Ran(code, "", log.read_text(), time.monotonic() - before)


def _take_interrupts() -> None:
    """As on a terminal: where the tests run as a shell's background job, SIGINT is inherited as ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
