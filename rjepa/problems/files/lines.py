"""Lines of a text file in bounded memory, and rows of JSON lines."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rjepa.errors import InvalidInputError
from rjepa.problems.cells import exact_float
from rjepa.problems.files.row import MAX_LINE, Row

BOM = b"\xef\xbb\xbf"

_HEAD = 1 << 16
_FAR_TOO_LONG = 16  # times the limit
_MAGIC = {
    b"PAR1": ("a Parquet file", "name it .parquet, or say --format parquet"),
    b"\x1f\x8b": ("compressed with gzip", "unpack it first, e.g. with `gunzip`"),
    b"(\xb5/\xfd": ("compressed with zstd", "unpack it first, e.g. with `unzstd`"),
    b"PK\x03\x04": ("a zip archive or a spreadsheet", "unpack it, or save the table as CSV (UTF-8)"),
    b"\xff\xfe": ("in UTF-16", "save the file as UTF-8"),
    b"\xfe\xff": ("in UTF-16", "save the file as UTF-8"),
    b"SQLite format 3": ("a SQLite database", "export the table as CSV"),
    b"%PDF": ("a PDF document", "bring the problems as JSON lines, CSV or Parquet"),
}


def check_is_text(path: Path) -> None:
    """Look at the head of a file.

    Raises:
        InvalidInputError: it is no text, with what it looks like.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    for magic, (what, cure) in _MAGIC.items():
        if head.startswith(magic):
            raise InvalidInputError(f"{path} is {what}, not UTF-8 text; nothing was imported", cure=cure)
    if b"\x00" in head:
        line = head.count(b"\n", 0, head.index(b"\x00")) + 1
        raise InvalidInputError(
            f"{path} is a binary file, or not UTF-8 (a zero byte on line {line}); nothing was imported",
            cure="bring JSON lines, JSON, CSV or Parquet; save text as UTF-8",
        )


def bounded_lines(path: Path, limit: int = MAX_LINE) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines, None for one that is too long: it is passed over in pieces and never held in memory. After one
    that is far too long nothing is read: what it is part of is no file of lines.
    """
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(limit + 1):
            number += 1
            if number == 1:
                raw = raw.removeprefix(BOM)
            if len(raw) <= limit:
                yield number, raw
                continue
            passed = len(raw)
            while raw and not raw.endswith(b"\n") and passed <= _FAR_TOO_LONG * limit:
                raw = file.readline(limit)
                passed += len(raw)
            yield number, None
            if passed > _FAR_TOO_LONG * limit:
                return


def decoded(raw: bytes) -> str:
    """Bytes as text.

    Raises:
        ValueError: they are not UTF-8.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None


def json_lines(path: Path, limit: int = MAX_LINE) -> Iterator[Row]:
    """One JSON object a line; blank lines are passed over."""
    for number, raw in bounded_lines(path, limit):
        try:
            if raw is None:
                raise ValueError(f"longer than {limit} bytes")
            if not raw.isspace() and raw:
                yield Row(number, parsed(decoded(raw)))
        except ValueError as error:
            yield Row(number, fault=str(error))


def parsed(text: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: it is something else.
    """
    try:
        row = exact_json(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at character {error.pos + 1})") from None
    except RecursionError:
        raise ValueError("not a problem (nested too deeply)") from None
    return as_object(row)


def exact_json(text: str) -> Any:
    """A JSON value with its numbers as they are written.

    Raises:
        ValueError: it is none, or one of its objects has a name twice: nothing says which value is meant.
    """
    return json.loads(text, parse_float=exact_float, object_pairs_hook=each_once)


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs.

    Raises:
        ValueError: a name is in two of them.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object: nothing says which is meant")
    return found


def as_object(row: Any) -> dict[str, Any]:
    """The row, if it is a JSON object.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(row, dict):
        raise ValueError(f"a JSON {type(row).__name__}, not an object {{...}}")
    return row
