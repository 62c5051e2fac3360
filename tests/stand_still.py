"""Run tests while the machine seems to stand still: all their processes are stopped for 11 s of every 41.

`python -m tests.stand_still tests/e2e tests/serving tests/sampling`, with any arguments of pytest. A test that fails
here and nowhere else takes a slow machine for a fault.
"""

import contextlib
import sys
import threading
from typing import Final

import psutil

_RUN_SECONDS: Final = 30.0
_STILL_SECONDS: Final = 11.0


def main() -> int:
    """The exit code of pytest."""
    tests = psutil.Popen([sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", *sys.argv[1:]])
    over = threading.Event()
    stopping = threading.Thread(target=_stop_now_and_then, args=(tests, over))
    stopping.start()
    try:
        return int(tests.wait())
    finally:
        over.set()
        stopping.join()


def _stop_now_and_then(tests: psutil.Process, over: threading.Event) -> None:
    while not over.wait(_RUN_SECONDS):
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [tests, *tests.children(recursive=True)]
            _each(family, "suspend")
            over.wait(_STILL_SECONDS)
            _each(family, "resume")


def _each(family: list[psutil.Process], what: str) -> None:
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            getattr(process, what)()


if __name__ == "__main__":
    sys.exit(main())
