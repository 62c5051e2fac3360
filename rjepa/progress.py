"""How a long stage reports its progress. The library draws no bars: it calls a callback that the caller brings."""

from typing import Protocol


class Progress(Protocol):
    """Called with work done so far, the total, and a short note (a rate, a loss)."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


def silent(done: int, total: int, note: str = "") -> None:
    """The default: report nothing."""
