"""Which reader a file gets: by what the user says, else by its name."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, Literal, get_args

from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.problems.files.csv_rows import csv_header, csv_rows
from rjepa.problems.files.json_rows import json_rows
from rjepa.problems.files.lines import check_is_text, json_lines
from rjepa.problems.files.parquet_rows import parquet_columns, parquet_rows
from rjepa.problems.files.row import Row

Format = Literal["jsonl", "json", "csv", "tsv", "parquet"]
FORMATS: Final[tuple[str, ...]] = get_args(Format)

_BY_SUFFIX: Final[dict[str, Format]] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
    ".pq": "parquet",
}  # fmt: skip
_DELIMITERS = {"csv": ",", "tsv": "\t"}


def format_of(path: Path, given: Format | None = None) -> Format:
    """The format of a file: the given one, else by its name; a name that says nothing is JSON lines."""
    return given or _BY_SUFFIX.get(path.suffix.lower(), "jsonl")


def unit_of(kind: Format) -> str:
    """What a row's number counts."""
    return {"parquet": "row", "json": "item"}.get(kind, "line")


def columns_of(path: Path, kind: Format) -> list[str] | None:
    """Names of the columns, where the format has them up front; else None."""
    if kind == "parquet":
        return parquet_columns(path)
    return csv_header(path, _DELIMITERS[kind]) if kind in _DELIMITERS else None


def check_file(path: Path, kind: Format) -> None:
    """Look before reading.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it may not be read, or is binary where text was expected.
    """
    if not path.is_file():
        raise NotFoundError(
            f"{path} is not a file", cure="name a file of problems: JSON lines, JSON, CSV, TSV or Parquet"
        )
    try:
        if kind != "parquet":
            check_is_text(path)
        else:
            path.open("rb").close()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read ({error.strerror})", cure="check its permissions") from error


def open_rows(path: Path, kind: Format, wanted: Collection[str] | None = None) -> Iterator[Row]:
    """The rows of a file that `check_file` passed, in order. `wanted`: the columns to unpack of Parquet; None: all."""
    if kind == "parquet":
        return parquet_rows(path, wanted)
    if kind == "json":
        return json_rows(path)
    return csv_rows(path, _DELIMITERS[kind]) if kind in _DELIMITERS else json_lines(path)
