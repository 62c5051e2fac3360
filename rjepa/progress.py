"""How a long stage reports its progress. The library draws no bars: it calls a callback that the caller brings."""

import time
from typing import Final, Protocol

LINE_SECONDS: Final = 10.0
"""Between lines of a log: enough to see life in it, few enough to read it."""

MESSAGE_SECONDS: Final = 0.2
"""Between messages to another process, which draws a bar of them: a few a second are all that an eye sees."""


class Progress(Protocol):
    """Called with work done so far, the total, and a short note (a rate, a loss)."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


def silent(done: int, total: int, note: str = "") -> None:
    """The default: report nothing."""


def time_left(seconds: float) -> str:
    """A note's words for the time that is left: "40 s left", "12 min left", "3.5 h left"."""
    if seconds < 90:
        return f"{seconds:.0f} s left"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min left"
    return f"{seconds / 3600:.1f} h left"


class Throttled:
    """Passes progress on no more often than every so many seconds."""

    def __init__(self, progress: Progress, seconds: float, *, ends: bool = False) -> None:
        """Throttle `progress`.

        Args:
            progress: where to pass it on to.
            seconds: between two calls.
            ends: whether the first, and the one that says that all is done, are passed on whenever they come.
        """
        self._progress, self._seconds, self._ends = progress, seconds, ends
        self._next = float("-inf") if ends else time.monotonic() + seconds

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if now >= self._next or (self._ends and done >= total):
            self._next = now + self._seconds
            self._progress(done, total, note)
