"""Which of the problems that a recipe draws are new: not in the version it grows from, not in each other, not in tests.

Exact after normalisation always counts; near-duplicates count where the recipe names a threshold. What is remembered of
old statements is `statements`; problems of one draw that are equal are `splits.deduplicate`'s.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from rjepa.datasets.splits import deduplicate
from rjepa.datasets.statements import Fingerprints, fingerprint, matches, near_candidates, similarity
from rjepa.errors import CorruptError, InvalidInputError
from rjepa.problems.splitting import normalise_statement
from rjepa.schemas import Problem

_TEST: Final = 2
_MAX_SHOWN: Final = 5

Text = tuple[str, str, str | None]
"""A problem's id, its statement, its gold answer."""


@dataclass(frozen=True)
class Known:
    """One part of problems that are there already. `tests_of` names the dataset whose tests alone count; None: all."""

    path: Path
    fingerprints: Fingerprints
    tests_of: str | None = None


@dataclass(frozen=True)
class Novel:
    """New problems, how many were left out and why, and every near-duplicate that was left out."""

    problems: list[Problem]
    left_out: dict[str, int]
    near: list[dict[str, Any]] = field(default_factory=list)


def select_new(drawn: Sequence[Problem], known: Sequence[Known], threshold: float | None) -> Novel:
    """The problems to keep, tests first, each as it was drawn.

    A problem that the parent has keeps the parent's split; the new copy goes. Of two new near-duplicates, training
    gives way to validation and both to test. Training and validation problems give way to the tests of other datasets.

    Raises:
        CorruptError: a new problem's structure lies in another split of the parent.
        InvalidInputError: a new problem has the id of another problem of the parent.
    """
    distinct, repeated = deduplicate(drawn)
    left_out = Counter({"duplicates_removed": repeated})
    if not known and threshold is None:
        return Novel(distinct, dict(left_out))
    left_out.update(dict.fromkeys(("already_in_parent", "already_in_parent_in_another_split"), 0))
    left_out.update(dict.fromkeys(("near_duplicates_removed", "removed_for_tests_elsewhere"), 0))
    new = fingerprint(distinct)
    gone: set[int] = set()
    for part in known:
        old_rows, new_rows = matches(part.fingerprints.statements, new.statements)
        for old_row, row in zip(old_rows.tolist(), new_rows.tolist(), strict=True):
            if row not in gone and _counts(part, old_row, new, row):
                gone.add(row)
                if part.tests_of is not None:
                    left_out["removed_for_tests_elsewhere"] += 1
                    continue
                left_out["already_in_parent"] += 1
                if part.fingerprints.splits[old_row] != new.splits[row]:
                    left_out["already_in_parent_in_another_split"] += 1
    near: list[dict[str, Any]] = []
    if threshold is not None:
        for part in known:
            near += _near_known(part, distinct, new, gone, threshold)
        texts = [_text(problem) for problem in distinct]
        for row, old, alike in near_each_other(texts, new, gone, threshold):
            gone.add(row)
            pair = {"left_out": distinct[row].problem_id, "kept": distinct[old].problem_id}
            near.append(pair | {"similarity": round(alike, 4)})
        left_out["near_duplicates_removed"] = sum("tests_of" not in found for found in near)
        left_out["removed_for_tests_elsewhere"] += sum("tests_of" in found for found in near)
    kept = [row for row in range(len(distinct)) if row not in gone]
    for part in known:
        if part.tests_of is None:
            _refuse_conflicts(part, distinct, new, kept)
    return Novel([distinct[row] for row in kept], dict(left_out), near)


def stored_texts(path: Path, rows: Sequence[int]) -> dict[int, Text]:
    """The texts at these rows of a part; only the row groups that hold them are read."""
    import pyarrow.parquet as pq

    found: dict[int, Text] = {}
    with pq.ParquetFile(path) as file:
        first = 0
        ordered = sorted(set(rows))
        for group in range(file.num_row_groups):
            end = first + file.metadata.row_group(group).num_rows
            here = [row for row in ordered if first <= row < end]
            if here:
                table = file.read_row_group(group, columns=["problem_id", "statement", "answer_gold"])
                for row, values in zip(here, table.take([row - first for row in here]).to_pylist(), strict=True):
                    found[row] = (values["problem_id"], values["statement"], values["answer_gold"])
            first = end
    return found


def near_in_part(
    path: Path,
    old: Fingerprints,
    texts: Sequence[Text],
    new: Fingerprints,
    threshold: float,
    matters: Callable[[int, int], bool],
) -> list[tuple[int, str, float]]:
    """(new row, old problem's id, similarity) of confirmed near-duplicates in a part, the first for each new row.

    `matters` is asked of (old row, new row) before anything is read.
    """
    pairs = [pair for pair in near_candidates(old, new) if matters(*pair)]
    stored = stored_texts(path, [old_row for old_row, _ in pairs])
    found: dict[int, tuple[int, str, float]] = {}
    for old_row, row in pairs:
        if row not in found:
            alike = _alike(texts[row], stored[old_row])
            if alike >= threshold:
                found[row] = (row, stored[old_row][0], round(alike, 4))
    return list(found.values())


def _near_known(
    part: Known, distinct: list[Problem], new: Fingerprints, gone: set[int], threshold: float
) -> list[dict[str, Any]]:
    report: list[dict[str, Any]] = []

    def matters(old_row: int, row: int) -> bool:
        return row not in gone and _counts(part, old_row, new, row)

    texts = [_text(problem) for problem in distinct]
    for row, old_id, alike in near_in_part(part.path, part.fingerprints, texts, new, threshold, matters):
        gone.add(row)
        entry: dict[str, Any] = {"left_out": distinct[row].problem_id, "kept": old_id, "similarity": alike}
        report.append(entry | ({} if part.tests_of is None else {"tests_of": part.tests_of}))
    return report


def near_each_other(
    texts: Sequence[Text], prints: Fingerprints, gone: Collection[int], threshold: float
) -> list[tuple[int, int, float]]:
    """(row, row of the earlier text that stays, similarity) of texts that are nearly the same as an earlier one.

    Rows of `gone` are left out already: none is compared with them.
    """
    out, found = {*gone}, []
    for old, row in near_candidates(prints, prints):
        if old in out or row in out:
            continue
        alike = _alike(texts[row], texts[old])
        if alike >= threshold:
            out.add(row)
            found.append((row, old, alike))
    return found


def _text(problem: Problem) -> Text:
    return problem.problem_id, problem.statement, problem.answer_gold


def _alike(one: Text, other: Text) -> float:
    """Similarity, 0 where the gold answers are known and differ: such statements are different problems."""
    if one[2] is not None and other[2] is not None and normalise_statement(one[2]) != normalise_statement(other[2]):
        return 0.0
    return similarity(one[1], other[1])


def _counts(part: Known, old_row: int, new: Fingerprints, row: int) -> bool:
    """Whether a match matters: against the tests of another dataset only what would be trained or tuned on does."""
    if part.tests_of is None:
        return True
    return bool(part.fingerprints.splits[old_row] == _TEST and new.splits[row] != _TEST)


def _refuse_conflicts(part: Known, distinct: list[Problem], new: Fingerprints, kept: list[int]) -> None:
    mine = new.take(kept)
    _, rows = matches(part.fingerprints.ids, mine.ids)
    if len(rows):
        shown = ", ".join(sorted({distinct[kept[row]].problem_id for row in rows[:_MAX_SHOWN]}))
        raise InvalidInputError(
            f"{len(rows)} new problem(s) have the id of another problem of the parent: {shown}",
            cure="give them ids of their own (an import without problem_id makes them from the statements)",
        )
    structures, first = np.unique(mine.structures, return_index=True)
    old_rows, which = matches(part.fingerprints.structures, structures)
    real = (structures[which] != 0) & (part.fingerprints.splits[old_rows] != mine.splits[first[which]])
    if real.any():
        moved = np.unique(first[which[real]])
        shown = ", ".join(distinct[kept[row]].problem_id for row in moved[:_MAX_SHOWN])
        raise CorruptError(
            f"{len(moved)} structure(s) of new problems lie in another split of the parent: {shown}",
            cure="mend the source of these problems: a structure must have one split for ever",
        )
