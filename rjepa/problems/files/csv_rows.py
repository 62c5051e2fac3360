"""Rows of a CSV or TSV file with a header, in bounded memory: no line, cell or header is taken on trust."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rjepa.errors import InvalidInputError
from rjepa.problems.files.lines import bounded_lines, decoded
from rjepa.problems.files.row import MAX_COLUMNS, MAX_LINE, Row

csv.field_size_limit(MAX_LINE)  # for the whole process: a cell may be as long as a line, by default it is 128 KiB


def csv_header(path: Path, delimiter: str) -> list[str]:
    """Names of the columns; none for an empty file.

    Raises:
        InvalidInputError: too many columns, one that is there twice, or a first line that is no header.
    """
    try:
        names = next(csv.reader(_Lines(path), delimiter=delimiter, strict=True), [])
    except (csv.Error, ValueError) as error:
        raise InvalidInputError(
            f"the header of {path} cannot be read (line 1: {error})", cure="write the columns' names on the first line"
        ) from None
    if len(names) > MAX_COLUMNS:
        raise InvalidInputError(
            f"{path} has {len(names)} columns, at most {MAX_COLUMNS} are read",
            cure="write one problem a line, with a column for the statement and one for the answer",
        )
    doubled = [name for name, times in Counter(names).items() if times > 1 and name]
    if doubled:
        raise InvalidInputError(
            f"{path} has the column {doubled[0]!r} twice", cure="give each column a name of its own"
        )
    return names


def csv_rows(path: Path, delimiter: str) -> Iterator[Row]:
    """Rows after the header, empty cells left out. `number` is the line a row ends on."""
    names = csv_header(path, delimiter)
    lines = _Lines(path)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header_read = False
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, ValueError) as error:
            # Where a quote goes wrong, the start of the next row is unknown.
            yield Row(lines.number, fault=f"{error}; is a quote not closed? Nothing after this line was read")
            return
        if not header_read:
            header_read = True
        elif len(cells) > len(names):
            yield Row(lines.number, fault=f"{len(cells)} cells, the header has {len(names)}; quote cells with commas")
        elif any(cells):
            yield Row(lines.number, {name: cell for name, cell in zip(names, cells, strict=False) if cell})


class _Lines:
    """Decoded lines for `csv.reader`, which by itself would read a line of any length whole."""

    def __init__(self, path: Path) -> None:
        self.number = 0
        self._lines = bounded_lines(path)

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        self.number, raw = next(self._lines)
        if raw is None:
            raise ValueError(f"longer than {MAX_LINE} bytes")
        return decoded(raw)
