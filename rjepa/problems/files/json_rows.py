"""Rows of a `.json` file: a list of objects (read item by item), one object that holds such a list, or JSON lines.

An object may also hold the table turned on its side, as libraries write it: a list of values a column, pandas' forms
`columns`, `index` and `split`.
"""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rjepa.errors import InvalidInputError
from rjepa.problems.cells import exact_float
from rjepa.problems.files.lines import BOM, as_object, each_once, exact_json, json_lines
from rjepa.problems.files.row import MAX_LINE, Row

MAX_WHOLE: Final = 16 << 20
"""Bytes of a file that has to be read whole, as its rows lie inside one object."""

_CHUNK = 1 << 16
_BLANK = " \t\r\n"


def json_rows(path: Path) -> Iterator[Row]:
    """Rows of a JSON file; `number` counts items from 1 (lines, where the file turns out to be JSON lines).

    Raises:
        InvalidInputError: the file is neither, with where it breaks.
    """
    with path.open("rb") as file:
        first = file.read(_CHUNK).removeprefix(BOM).lstrip()[:1]
    if first == b"[":
        yield from _items(path)
    elif first == b"{":
        yield from _wrapped(path)
    elif first:
        raise InvalidInputError(
            f"{path} starts with {first.decode(errors='replace')!r}, which is no JSON object or list",
            cure="bring a JSON list of objects, or one object a line",
        )


def _items(path: Path) -> Iterator[Row]:
    """Items of the list, decoded one at a time from a buffer that holds little more than one of them."""
    decoder, pieces = json.JSONDecoder(parse_float=exact_float, object_pairs_hook=each_once), _text(path)
    buffer, number = next(pieces, "").lstrip(_BLANK)[1:], 0
    while True:
        buffer = buffer.lstrip(_BLANK)
        while not buffer:
            more = next(pieces, None)
            if more is None:
                raise _broken(path, number, "the list does not end")
            buffer = more.lstrip(_BLANK)
        if buffer[0] == "]":
            _check_end(path, number, buffer[1:], pieces)
            return
        if number:
            if buffer[0] != ",":
                raise _broken(path, number, f"{buffer[0]!r} where a comma was expected")
            buffer = buffer[1:]
        number += 1
        found, buffer = _next_item(path, number, buffer, decoder, pieces)
        try:
            yield Row(number, as_object(found))
        except ValueError as error:
            yield Row(number, fault=str(error))


def _next_item(
    path: Path, number: int, buffer: str, decoder: json.JSONDecoder, pieces: Iterator[str]
) -> tuple[Any, str]:
    """The item that the buffer starts with, and the rest. The buffer doubles until the item fits."""
    while True:
        buffer = buffer.lstrip(_BLANK)
        reason, whole = "the file ends inside it", None
        try:
            whole = decoder.raw_decode(buffer)
            if whole[1] < len(buffer):  # a number that ends with the buffer may go on
                return whole[0], buffer[whole[1] :]
        except json.JSONDecodeError as error:
            reason = f"{error.msg} at its character {error.pos + 1}"
        except RecursionError:
            raise _broken(path, number, "nested too deeply") from None
        except ValueError as error:
            raise _broken(path, number, str(error)) from None
        if len(buffer) > MAX_LINE:
            raise _broken(path, number, f"{reason}, or the item is longer than {MAX_LINE} characters")
        wanted, grown = max(len(buffer), _CHUNK), [buffer]
        while wanted > 0 and (more := next(pieces, None)) is not None:
            grown.append(more)
            wanted -= len(more)
        if len(grown) == 1 and whole is not None:
            return whole[0], ""
        if len(grown) == 1:
            raise _broken(path, number, reason)
        buffer = "".join(grown)


def _wrapped(path: Path) -> Iterator[Row]:
    """Rows of the one list of objects inside the object, wherever it lies at the top: {"examples": [...], ...}."""
    if path.stat().st_size > MAX_WHOLE:
        yield from json_lines(path)
        return
    try:
        whole = exact_json("".join(_text(path)))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from json_lines(path)
            return
        raise InvalidInputError(
            f"{path} is not JSON ({error.msg} on line {error.lineno}); nothing was imported", cure="mend that line"
        ) from None
    except (RecursionError, ValueError) as error:
        raise InvalidInputError(
            f"{path} is not JSON of problems ({str(error)[:120]}); nothing was imported",
            cure="bring a JSON list of objects, or one object a line",
        ) from None
    table = _table(path, whole)
    if table is not None:
        yield from (Row(number, values) for number, values in enumerate(table, start=1))
        return
    lists = [name for name, value in whole.items() if isinstance(value, list) and _holds_objects(value)]
    if not lists:
        yield Row(1, whole)
        return
    if len(lists) > 1:
        raise InvalidInputError(
            f"{path} holds {len(lists)} lists of objects ({', '.join(map(repr, lists[:5]))}); nothing was imported",
            cure="write the one that holds the problems to a file of its own",
        )
    for number, found in enumerate(whole[lists[0]], start=1):
        try:
            yield Row(number, as_object(found))
        except ValueError as error:
            yield Row(number, fault=str(error))


def _table(path: Path, whole: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Rows of an object that holds a table by columns or by row names; None where it holds something else.

    Raises:
        InvalidInputError: its columns have different lengths.
    """
    values = list(whole.values())
    names, data = whole.get("columns"), whole.get("data")
    if isinstance(names, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
        lengths = {len(names), *map(len, data)}
        rows = [dict(zip(map(str, names), row, strict=False)) for row in data]
    elif len(values) > 1 and all(isinstance(column, list) and not _holds_objects(column) for column in values):
        lengths = {len(column) for column in values}
        rows = [dict(zip(whole, row, strict=False)) for row in zip(*values, strict=False)]
    elif values and all(isinstance(value, dict) for value in values):
        keys = [set(value) for value in values]
        if not all(key.isdecimal() for key in keys[0]):
            return values if len(values) > 1 else None
        lengths = {len(found) for found in keys}
        rows = [{name: whole[name].get(key) for name in whole} for key in values[0]]
    else:
        return None
    if len(lengths) > 1:
        raise InvalidInputError(
            f"{path} holds a table by columns of {min(lengths)} to {max(lengths)} values; nothing was imported",
            cure="write it again so that all columns have the same length, or one object a line",
        )
    return rows


def _holds_objects(found: list[Any]) -> bool:
    return bool(found) and isinstance(found[0], dict)


def _text(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    with path.open("rb") as file:
        while raw := file.read(_CHUNK):
            try:
                piece = decoder.decode(raw.removeprefix(BOM) if done == 0 else raw)
            except UnicodeDecodeError as error:
                raise InvalidInputError(
                    f"{path} is not UTF-8 (byte {done + error.start + 1}); nothing was imported",
                    cure="save the file as UTF-8",
                ) from None
            done += len(raw)
            if piece:
                yield piece


def _check_end(path: Path, number: int, rest: str, pieces: Iterator[str]) -> None:
    if rest.strip(_BLANK) or any(piece.strip(_BLANK) for piece in pieces):
        raise _broken(path, number, "something follows the end of the list")


def _broken(path: Path, number: int, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"{path} breaks at item {number}: {reason}; nothing was imported",
        cure="mend that item; a JSON file of problems is a list of objects",
    )
