"""One row of a file, or what is wrong with it; and the limits that keep memory flat."""

from dataclasses import dataclass
from typing import Any, Final

MAX_LINE: Final = 1 << 20
"""Bytes of one row: a problem is a page or two, and a longer line is most likely no file of problems at all."""
MAX_COLUMNS: Final = 16_384
"""What spreadsheets allow; a table with more columns is most likely turned on its side."""


@dataclass(frozen=True, slots=True)
class Row:
    """`number` counts from 1 (a line of the file, or an item of it). Either `values` or `fault` is there."""

    number: int
    values: dict[str, Any] | None = None
    fault: str = ""
