"""How a long stage reports its progress. The library draws no bars: it calls a callback that the caller brings."""

from typing import Protocol


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
