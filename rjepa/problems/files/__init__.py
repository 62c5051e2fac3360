"""Rows of a file that a stranger wrote: JSON lines, JSON, CSV, Parquet. Read in pieces, refused with the line and the
cure, never held whole. What a row means is decided in `rjepa.problems.importing` and `rjepa.problems.benchmarks`.
"""

from rjepa.problems.files.opening import FORMATS, Format, check_file, columns_of, format_of, open_rows, unit_of
from rjepa.problems.files.row import MAX_COLUMNS, MAX_LINE, Row

__all__ = [
    "FORMATS",
    "MAX_COLUMNS",
    "MAX_LINE",
    "Format",
    "Row",
    "check_file",
    "columns_of",
    "format_of",
    "open_rows",
    "unit_of",
]
