"""Which column of a stranger's file is which field of ours: `statement=question`, `answer=result.value`."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rjepa.errors import InvalidInputError
from rjepa.problems.cells import nested

FIELDS: Final = (
    "statement", "answer", "domain", "steps", "difficulty", "subdomain", "licence", "split", "problem_id",
)  # fmt: skip
NEEDED: Final = ("statement", "answer")

_MAX_SHOWN: Final = 12
"""Columns of a file that a refusal lists."""
_INDEX: Final = re.compile(r"-?\d{1,5}")


@dataclass(frozen=True)
class ColumnMap:
    """Field of ours -> column of theirs. A field that is not named is read from the column of its own name.

    `a.b` is the field `b` of the object in column `a` (`a.0` the first of a list, `a.-1` its last), unless a column is
    called `a.b`. A text cell that holds an object or a list, as JSON or as Python writes it, is looked into as well.
    """

    columns: Mapping[str, str] = field(default_factory=dict)

    def fields_of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Our fields of a row; those it does not have are left out, columns that nothing names stay as they are."""
        if not self.columns:
            return dict(row)
        taken = {prefix for source in self.columns.values() for prefix in _prefixes(source)}
        found = {name: value for name, value in row.items() if name not in taken}
        for name, source in self.columns.items():
            value = _lookup(row, source)
            if value is not None:
                found[name] = value
            else:
                found.pop(name, None)
        return found

    def wanted(self) -> set[str]:
        """Columns that can matter, for a format that unpacks only what is asked for."""
        mapped = {prefix for source in self.columns.values() for prefix in _prefixes(source)}
        return mapped | {name for name in FIELDS if name not in self.columns}

    def check_columns(self, there: Collection[str], where: str) -> None:
        """Compare with the columns that a file says it has.

        Raises:
            InvalidInputError: a needed or named column is not there; what is there is listed.
        """
        asked = {name: self.columns.get(name, name) for name in (*NEEDED, *self.columns)}
        for name, source in asked.items():
            if not any(prefix in there for prefix in _prefixes(source)):
                listed = ", ".join(list(there)[:_MAX_SHOWN]) or "none"
                more = f" and {len(there) - _MAX_SHOWN} more" if len(there) > _MAX_SHOWN else ""
                raise InvalidInputError(
                    f"{where} has no column {source!r} for {name}; it has {listed}{more}; nothing was imported",
                    cure=f"say which column holds it, e.g. --map {name}=COLUMN",
                )


def parse_map(options: Sequence[str]) -> ColumnMap:
    """The map of `--map FIELD=COLUMN` options.

    Raises:
        InvalidInputError: no such field, a field named twice, or no `=`.
    """
    columns: dict[str, str] = {}
    for option in options:
        name, equals, source = option.partition("=")
        name, source = name.strip(), source.strip()
        if not equals or name not in FIELDS or not source or name in columns:
            what = f"names {name} twice" if name in columns else "is not FIELD=COLUMN"
            raise InvalidInputError(
                f"--map {option!r} {what}", cure=f"FIELD is one of {', '.join(FIELDS)}; e.g. --map statement=question"
            )
        columns[name] = source
    return ColumnMap(columns)


def _prefixes(source: str) -> list[str]:
    """Names of columns that a source can begin with, the longest first: `a.b.c`, `a.b`, `a`."""
    keys = source.split(".")
    return [".".join(keys[:count]) for count in range(len(keys), 0, -1)]


def _lookup(row: Mapping[str, Any], source: str) -> Any:
    """The value at a source, None where a row has nothing there."""
    column = next((prefix for prefix in _prefixes(source) if prefix in row), None)
    if column is None:
        return None
    value: Any = row[column]
    for key in source[len(column) + 1 :].split(".") if column != source else []:
        value = nested(value) if isinstance(value, str) else value
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and _INDEX.fullmatch(key):
            place = int(key)
            value = value[place] if -len(value) <= place < len(value) else None
        else:
            return None
    return value
