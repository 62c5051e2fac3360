"""What an adapter makes of a row, and the reading of fields that adapters share. Problems are made in `adapting`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rjepa.schemas import Difficulty

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_TRAILING_ZEROS = re.compile(r"^(-?\d+)\.0+$")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


@dataclass(frozen=True)
class Adapted:
    """A row's problem before it has an id, a split and an origin. `meta` says how an answer is checked."""

    statement: str
    answer: str
    domain: str
    meta: dict[str, Any]
    subdomain: str = ""
    difficulty: Difficulty = "medium"
    steps: list[str] = field(default_factory=list)


def text(row: dict[str, Any], *names: str) -> str:
    """The first of these fields that the row has, as text without blanks around.

    Raises:
        ValueError: it has none of them, or another type.
    """
    value = _first(row, names)
    if not isinstance(value, str):
        raise ValueError(f"{names[0]} is a {type(value).__name__}, not text")
    if not value.strip():
        raise ValueError(f"{names[0]} is empty")
    return value.strip()


def texts(row: dict[str, Any], *names: str) -> list[str]:
    """The first of these fields that the row has, as a list of texts.

    Raises:
        ValueError: it has none of them, or another type.
    """
    value = _first(row, names)
    if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
        raise ValueError(f"{names[0]} is not a list of texts")
    return value


def number(row: dict[str, Any], *names: str) -> str:
    """The first of these fields that the row has, a number or its text, plainly written: `27.0` as `27`."""
    value = _first(row, names)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{names[0]} is a {type(value).__name__}, not a number")
    return plain_number(str(value))


def plain_number(value: str) -> str:
    """`1,000` as `1000` and `27.0` as `27`; any other text without blanks around."""
    return _TRAILING_ZEROS.sub(r"\1", _THOUSANDS.sub("", value.strip()))


def multiple_choice(question: str, choices: Sequence[str], right: int) -> tuple[str, str, dict[str, Any]]:
    """Statement with its options lettered from A, the right letter, and `meta`.

    Raises:
        ValueError: fewer than two options, or the right one is not among them.
    """
    if not 2 <= len(choices) <= len(LETTERS):
        raise ValueError(f"{len(choices)} options, expected 2 to {len(LETTERS)}")
    if not 0 <= right < len(choices):
        raise ValueError(f"the right option is number {right + 1}, there are {len(choices)}")
    cleaned = [choice.strip() for choice in choices]
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, cleaned, strict=False))
    return f"{question}\n{listed}", LETTERS[right], {"check": "multiple_choice", "choices": cleaned}


def option_index(label: Any) -> int:
    """Position of a published label: a number counts from 0, a letter from A.

    Raises:
        ValueError: no such label.
    """
    if isinstance(label, int) and not isinstance(label, bool):
        return label
    if isinstance(label, str):
        wanted = label.strip().upper()
        if len(wanted) == 1 and wanted in LETTERS:
            return LETTERS.index(wanted)
        if wanted.isdecimal() and len(wanted) < 4:
            return int(wanted)
    raise ValueError(f"{label!r} is no label of an option")


def _first(row: dict[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise ValueError(f"{' or '.join(names)}: missing; the row has {', '.join(map(str, list(row)[:12])) or 'nothing'}")
