"""Take in rows that strangers wrote, one at a time: good ones go on as problems, bad ones are named.

Either every row is good or all are refused, with the first bad ones named; memory does not grow with their number.
What a row may hold lives in `lines`, what its values mean in `values`, formats in `files`, and the registering of a
good file in `rjepa.datasets.registering`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from rjepa.errors import InvalidInputError
from rjepa.problems.columns import FIELDS, ColumnMap
from rjepa.problems.duplicates import SeenKeys
from rjepa.problems.files import MAX_LINE, Format, Row, check_file, columns_of, format_of, open_rows, unit_of
from rjepa.problems.files.lines import json_lines
from rjepa.problems.lines import UNKNOWN_LICENCE, SplitChoice, WorkedProblem, read_normalised, read_row, reason_of
from rjepa.problems.splitting import statement_key
from rjepa.problems.values import understood

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
        convert: Callable[[Row], WorkedProblem],
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

    def pairs(self) -> Iterator[WorkedProblem]:
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

    def _take(self, row: Row) -> WorkedProblem | None:
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

    pairs: list[WorkedProblem]
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

    def convert(row: Row) -> WorkedProblem:
        values = mapped.fields_of(row.values or {})
        values = understood(values, is_text=kind in ("csv", "tsv"))
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


def normalised_pairs(path: Path, name: str, created_at: datetime) -> Iterator[WorkedProblem]:
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
