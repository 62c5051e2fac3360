"""Progress bars on stderr, as the library's `Progress` callback. Answers stay on stdout."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TextIO

from rjepa.progress import LINE_SECONDS, Progress, Throttled


@contextlib.contextmanager
def progress_bar(label: str, stream: TextIO | None = None) -> Iterator[Progress]:
    """Show one stage's progress on `stream` (stderr): a bar on a terminal, a line every few seconds in a log."""
    stream = stream or sys.stderr
    if stream.isatty():
        with _rich_bar(label, stream) as progress:
            yield progress
    else:
        yield _lines(label, stream)


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


def _lines(label: str, stream: TextIO) -> Progress:
    """Plain lines for logs."""

    def line(done: int, total: int, note: str = "") -> None:
        print(f"{label}: {done}/{total} {note}".rstrip(), file=stream, flush=True)

    return Throttled(line, LINE_SECONDS)
