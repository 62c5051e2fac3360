"""Take in rows that strangers wrote, one at a time: good ones go on as problems, bad ones are named.

Either every row is good or all are refused, with the first bad ones named; memory does not grow with their number.
What a row may hold lives in `lines`, formats in `files`, and the registering of a good file in
`rjepa.datasets.registering`.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from rjepa.errors import InvalidInputError
from rjepa.problems.cells import check_backslashes, check_is_value, is_missing, nested, read_list
from rjepa.problems.columns import FIELDS, NEEDED, ColumnMap
from rjepa.problems.duplicates import SeenKeys
from rjepa.problems.files import MAX_LINE, Format, Row, check_file, columns_of, format_of, open_rows, unit_of
from rjepa.problems.files.lines import json_lines
from rjepa.problems.lines import UNKNOWN_LICENCE, Pair, SplitChoice, read_normalised, read_row, reason_of
from rjepa.problems.splitting import statement_key

__all__ = [
    "MAX_LINE",
    "UNKNOWN_LICENCE",
    "ImportedProblems",
    "Intake",
    "import_rows",
    "normalised_pairs",
    "read_problems",
]

MAX_SHOWN = 10
MAX_BAD = 10_000
"""Bad rows after which the rest is not read: such a file is no file of problems."""

_WANTED = "statement and answer (text), and if you like domain, steps (a list of texts), difficulty, licence, split"
_MAX_IGNORED = 1000
_MAX_NORMALISED = 8 * MAX_LINE  # escapes make a row longer than it came


class Intake:
    """Rows in, good pairs out. Iterate over `pairs()` to the end, then `finish()` says whether all was well.

    Args:
        where: the file's name, for messages.
        unit: what a row's number counts: line, row, item.
        tolerated: share of rows that may be bad; they are left out and counted. 0: any bad row refuses all.
        repeats: whether equal statements and ids are welcome (a benchmark's, which are removed later and counted).
    """

    def __init__(
        self,
        where: str,
        rows: Iterable[Row],
        convert: Callable[[Row], Pair],
        *,
        unit: str = "line",
        tolerated: float = 0.0,
        repeats: bool = False,
    ) -> None:
        self.taken = 0
        self.by_split: Counter[str] = Counter()
        self.bad_count = 0
        self._where, self._rows, self._convert, self._unit = where, rows, convert, unit
        self._tolerated, self._repeats = tolerated, repeats
        self._bad: list[tuple[int, str]] = []
        self._unknown_licence = 0
        self._ignored: set[str] = set()

    def pairs(self) -> Iterator[Pair]:
        """Good pairs, in order. Those with a statement or id seen before are among them: `finish` refuses them."""
        with SeenKeys() as statements, SeenKeys() as ids:
            for row in self._rows:
                pair = self._take(row)
                if pair is None:
                    if self.bad_count >= MAX_BAD:
                        return
                    continue
                problem, _ = pair
                self.taken += 1
                self.by_split[str(problem.split)] += 1
                self._unknown_licence += problem.licence == UNKNOWN_LICENCE
                if not self._repeats:
                    statements.add(statement_key(problem.statement), row.number)
                    ids.add(problem.problem_id, row.number)
                yield pair
            self._name_repeats(statements, ids)

    def finish(self) -> None:
        """Refuse what was read, if it must be.

        Raises:
            InvalidInputError: there were bad rows, repeated ones, or none at all.
        """
        if self.bad_count > self._tolerated * (self.bad_count + self.taken):
            shown = sorted(self._bad)[:MAX_SHOWN]
            more = self.bad_count - len(shown)
            listed = "".join(f"\n  {self._unit} {number}: {reason}" for number, reason in shown)
            listed += f"\n  and {more} more" if more else ""
            many = f"{self.bad_count} or more" if self.bad_count >= MAX_BAD else str(self.bad_count)
            raise InvalidInputError(
                f"{self._where} has {many} bad {self._unit}(s), nothing was imported:{listed}",
                cure=f"mend them and import again; each has {_WANTED}; other names are said with --map",
            )
        if not self.taken:
            raise InvalidInputError(
                f"{self._where} holds no problems", cure=f"write one problem a {self._unit}, with {_WANTED}"
            )

    def warnings(self) -> list[str]:
        """What the owner of the rows should know."""
        found = []
        if unknown := self._unknown_licence:
            found.append(f"the licence of {unknown} problem(s) is unknown: check it before you share what is made here")
        if self.bad_count:
            number, reason = min(self._bad)
            found.append(f"{self.bad_count} row(s) were left out, the first is {self._unit} {number} ({reason})")
        if self._ignored:
            names = ", ".join(sorted(self._ignored)[:MAX_SHOWN])
            many = f"{_MAX_IGNORED} or more" if len(self._ignored) >= _MAX_IGNORED else str(len(self._ignored))
            found.append(f"{many} unknown field(s) were ignored: {names}")
        return found

    def ignore(self, names: Iterable[str]) -> None:
        """Remember fields that nothing reads, for a warning."""
        if len(self._ignored) < _MAX_IGNORED:
            self._ignored.update(str(name)[:40] for name in names)

    def _take(self, row: Row) -> Pair | None:
        if row.values is None:
            self._name(row.number, row.fault)
            return None
        try:
            return self._convert(row)
        except ValueError as error:
            self._name(row.number, reason_of(error))
            return None

    def _name(self, number: int, reason: str) -> None:
        self.bad_count += 1
        if len(self._bad) < MAX_SHOWN:
            self._bad.append((number, reason[:300]))

    def _name_repeats(self, statements: SeenKeys, ids: SeenKeys) -> None:
        if self._repeats:
            return
        same_statement, same_id = statements.repeated(), ids.repeated()
        same_id = same_id[~np.isin(same_id[:, 0], same_statement[:, 0])]  # named once
        self.bad_count += len(same_statement) + len(same_id)
        for found, what in ((same_statement, "this statement"), (same_id, "this problem_id")):
            for number, first in found[:MAX_SHOWN].tolist():
                self._bad.append((number, f"{what} is already on {self._unit} {first}"))


@dataclass(frozen=True)
class ImportedProblems:
    """A good file's problems with their chains (None where a problem has no steps), and what its owner should know."""

    pairs: list[Pair]
    warnings: list[str] = field(default_factory=list)


def import_rows(
    path: Path,
    name: str,
    created_at: datetime,
    split: SplitChoice | None = None,
    *,
    columns: ColumnMap | None = None,
    kind: Format | None = None,
    licence: str | None = None,
) -> Intake:
    """Open a stranger's file as the data set `name`; its rows are read as the intake is iterated over.

    `split`: where all problems go; None: where their rows say, else `test`.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is not what its name or `kind` says, or a needed column is not there.
    """
    mapped = columns or ColumnMap()
    kind = format_of(path, kind)
    check_file(path, kind)
    there = columns_of(path, kind)
    if there:
        mapped.check_columns(there, str(path))

    def convert(row: Row) -> Pair:
        values = mapped.fields_of(row.values or {})
        values = _understood(values, is_text=kind in ("csv", "tsv"))
        unread = values.keys() - _KNOWN
        if unread:
            intake.ignore(unread)
        return read_row(values, name, created_at, split, licence)

    rows = open_rows(path, kind, mapped.wanted() if kind == "parquet" else None)
    intake = Intake(str(path), rows, convert, unit=unit_of(kind))
    if there:
        intake.ignore(column for column in there if column not in mapped.wanted())
    return intake


def read_problems(path: Path, name: str, created_at: datetime, split: SplitChoice | None = None) -> ImportedProblems:
    """A whole file in memory, for those small enough.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: something is wrong with any of its rows; up to 10 are named.
    """
    intake = import_rows(path, name, created_at, split)
    pairs = list(intake.pairs())
    intake.finish()
    return ImportedProblems(pairs, intake.warnings())


def normalised_pairs(path: Path, name: str, created_at: datetime) -> Iterator[Pair]:
    """The problems of a normalised file, which is the registry's own: its hash was checked, its rows are trusted."""
    intake = Intake(
        str(path),
        json_lines(path, _MAX_NORMALISED),
        lambda row: read_normalised(row.values or {}, name, created_at),
        repeats=True,
    )
    yield from intake.pairs()
    intake.finish()


_KNOWN = frozenset(FIELDS)
_LINE_END = re.compile(r"\r\n|\r|\n")


def _understood(values: dict[str, Any], *, is_text: bool) -> dict[str, Any]:
    """A stranger's values: optional fields that say nothing left out, and steps as a list.

    In a format of text cells (`is_text`), steps are a list that a library wrote into the cell, else the cell's lines.

    Raises:
        ValueError: a cell holds a library's word for no value where one is needed, a list that cannot be read, or LaTeX
            that lost its backslashes.
    """
    values = {name: value for name, value in values.items() if name in NEEDED or not is_missing(value)}
    steps = values.get("steps")
    if isinstance(steps, str):
        with _named("steps"):
            found = read_list(steps)
        if found is not None or is_text:
            lines = _LINE_END.split(steps) if found is None else found
            values["steps"] = [line for line in lines if line.strip()]
    for name in NEEDED:
        text = values.get(name)
        if isinstance(text, str):
            with _named(name):
                if is_text:
                    check_is_value(text)
                _refuse_list(text, name)
    for name in (*NEEDED, "steps"):
        with _named(name):
            for text in values[name] if isinstance(values.get(name), list) else [values.get(name)]:
                if isinstance(text, str):
                    check_backslashes(text)
    return values


def _refuse_list(text: str, name: str) -> None:
    """A statement that is a written-out conversation, or an answer that is a list of one text, is neither."""
    whole = nested(text) if text.strip()[:1] in ("[", "{") else text
    is_rows = isinstance(whole, list) and bool(whole) and isinstance(whole[0], dict)
    is_wrapped = name == "answer" and isinstance(whole, list) and len(whole) == 1 and isinstance(whole[0], str)
    if is_rows or is_wrapped:
        place = f"{name}=COLUMN.0.content" if is_rows else f"{name}=COLUMN.0"
        raise ValueError(f"a list written into a cell ({text.strip()[:40]!r}); name what in it, e.g. --map {place}")


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Put the field's name before a complaint."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
