"""What changed from one dataset to another. Parts that both have are not read, so that a version's step costs its size.

Problems are the same where their id is; chains likewise. Works for any two datasets, related or not.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rjepa.datasets.parts import part_paths
from rjepa.datasets.reading import load_manifest
from rjepa.datasets.stages import PROBLEMS, VALIDATED_CHAINS
from rjepa.home import Home
from rjepa.schemas import ChainOfThought, Problem
from rjepa.tables import arrow_schema

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pydantic import BaseModel

_EXAMPLES: Final = 20
_BY: Final = ("domain", "split", "source", "licence")


@dataclass(frozen=True)
class Change:
    """Records that only one of the two datasets has: how many, and by domain, split, source and licence or verdict."""

    total: int
    by: dict[str, dict[str, int]]
    examples: list[str]


@dataclass(frozen=True)
class DatasetDiff:
    """From dataset `old` to `new`. `moved`: problems of both whose split differs. `verdicts`: chains of both whose
    verdict differs, as (chain, old reason, new reason). `licences`: problems of each licence in both, (old, new).
    """

    old: str
    new: str
    problems_added: Change
    problems_removed: Change
    chains_added: Change
    chains_removed: Change
    moved: list[tuple[str, str, str]]
    verdicts_changed: int
    verdicts: list[tuple[str, str, str]]
    licences: dict[str, tuple[int, int]]

    @property
    def is_empty(self) -> bool:
        """Whether the two hold the same problems and chains with the same verdicts."""
        changes = (self.problems_added, self.problems_removed, self.chains_added, self.chains_removed)
        return not any(change.total for change in changes) and not self.moved and not self.verdicts_changed


def diff_datasets(home: Home, old: str, new: str) -> DatasetDiff:
    """Compare two released datasets.

    Raises:
        NotFoundError: one does not exist or is not released.
        CorruptError: a part is gone.
    """
    import duckdb

    before, after = load_manifest(home, old), load_manifest(home, new)
    with duckdb.connect(":memory:") as connection:
        for name, stage, model in (("problems", PROBLEMS, Problem), ("chains", VALIDATED_CHAINS, ChainOfThought)):
            ours, theirs = part_paths(home, old, stage.name), part_paths(home, new, stage.name)
            _table(connection, f"old_{name}", [path for path in ours if path not in theirs], model)
            _table(connection, f"new_{name}", [path for path in theirs if path not in ours], model)
        verdicts = _rows(
            connection,
            "SELECT cot_id, a.validation_reason, b.validation_reason FROM old_chains a JOIN new_chains b USING (cot_id)"
            " WHERE a.is_valid IS DISTINCT FROM b.is_valid OR a.validation_reason <> b.validation_reason"
            " OR a.first_error_step IS DISTINCT FROM b.first_error_step ORDER BY cot_id",
        )
        moved = _rows(
            connection,
            "SELECT problem_id, a.split, b.split FROM old_problems a JOIN new_problems b USING (problem_id)"
            " WHERE a.split IS DISTINCT FROM b.split ORDER BY problem_id",
        )
        return DatasetDiff(
            old=old,
            new=new,
            problems_added=_problems(connection, "new_problems", "old_problems"),
            problems_removed=_problems(connection, "old_problems", "new_problems"),
            chains_added=_chains(connection, "new", "old"),
            chains_removed=_chains(connection, "old", "new"),
            moved=moved,
            verdicts_changed=len(verdicts),
            verdicts=verdicts[:_EXAMPLES],
            licences={
                licence: (before["licences"].get(licence, 0), after["licences"].get(licence, 0))
                for licence in sorted({*before["licences"], *after["licences"]})
            },
        )


def _problems(connection: "DuckDBPyConnection", mine: str, other: str) -> Change:
    only = f"FROM {mine} p ANTI JOIN {other} USING (problem_id)"
    return _change(connection, only, "problem_id", _BY)


def _chains(connection: "DuckDBPyConnection", mine: str, other: str) -> Change:
    chosen = "c.cot_id, c.source, c.validation_reason AS verdict, p.domain, p.split"
    only = (
        f"FROM (SELECT {chosen} FROM {mine}_chains c LEFT JOIN {mine}_problems p USING (problem_id))"
        f" ANTI JOIN {other}_chains USING (cot_id)"
    )
    return _change(connection, only, "cot_id", ("domain", "split", "source", "verdict"))


def _change(connection: "DuckDBPyConnection", only: str, key: str, columns: tuple[str, ...]) -> Change:
    by = {}
    for column in columns:
        counted = f"SELECT coalesce({column}, 'unknown') AS value, count(*) {only} GROUP BY value ORDER BY value"
        by[column] = dict(_rows(connection, counted))
    total = sum(next(iter(by.values())).values())
    examples = [row[0] for row in _rows(connection, f"SELECT {key} {only} ORDER BY {key} LIMIT {_EXAMPLES}")]
    return Change(total, by, examples)


def _table(connection: "DuckDBPyConnection", name: str, paths: list[Path], model: "type[BaseModel]") -> None:
    if not paths:
        connection.from_arrow(arrow_schema(model).empty_table()).create(name)
        return
    listed = [str(path) for path in paths]
    connection.read_parquet(listed, union_by_name=True).create_view(name)


def _rows(connection: "DuckDBPyConnection", query: str) -> list[Any]:
    return connection.execute(query).fetchall()
