"""Progress bars on stderr, as the library's `Progress` callback. Answers stay on stdout."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from rjepa.progress import Progress

_SECONDS_BETWEEN_LINES = 10.0
"""Seconds between plain lines where stderr is not a terminal: enough to see life in a log, few enough to read it."""


@contextlib.contextmanager
def progress_bar(label: str, stream: TextIO | None = None) -> Iterator[Progress]:
    """Show one stage's progress on `stream` (stderr): a bar on a terminal, a line every few seconds in a log."""
    stream = stream or sys.stderr
    if stream.isatty():
        with _rich_bar(label, stream) as progress:
            yield progress
    else:
        yield _Lines(label, stream)


@contextlib.contextmanager
def _rich_bar(label: str, stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Bars(*columns, console=Console(file=stream), transient=True) as bars:
        task = bars.add_task(label, total=None, note="")

        def progress(done: int, total: int, note: str = "") -> None:
            bars.update(task, completed=done, total=total, note=note)

        yield progress


class _Lines:
    """Plain lines for logs, rate-limited."""

    def __init__(self, label: str, stream: TextIO) -> None:
        self._label, self._stream = label, stream
        self._next = time.monotonic() + _SECONDS_BETWEEN_LINES

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS_BETWEEN_LINES
            print(f"{self._label}: {done}/{total} {note}".rstrip(), file=self._stream, flush=True)
