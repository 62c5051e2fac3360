"""Tables for a terminal: rich lays them out, and they are printed as plain text that is as wide as it needs to be.

What stands in them is decided where it is known (`rjepa.evaluation.summary`, the verbs).
"""

from collections.abc import Sequence
from io import StringIO
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.control import strip_control_codes
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_WIDEST: Final = 400
"""Columns that a table may take: longer lines are the terminal's to break."""


def render(table: Table) -> str:
    """A table as plain text without trailing blanks, as wide as its longest row."""
    out = StringIO()
    console = Console(file=out, width=_WIDEST, color_system=None, highlight=False, emoji=False, markup=False)
    console.width = max(Measurement.get(console, console.options, table).maximum, 1)
    console.print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def new_table(*headings: str, numbers: Sequence[str] = ()) -> Table:
    """An empty table in the one style that all of them have; the columns of `numbers` stand to the right."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in headings:
        table.add_column(_plain(heading), no_wrap=True, justify="right" if heading in numbers else "left")
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row of cells that others may have written."""
    table.add_row(*(_plain(cell) for cell in cells))


def _plain(text: str) -> Text:
    """Text that others wrote: one line, no markup, nothing that a terminal would obey."""
    kept = text if "\n" not in text and "\r" not in text else " ".join(text.split())
    return Text(strip_control_codes(kept).replace("\x1b", ""))
