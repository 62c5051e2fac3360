"""What a home knows of a question already: the problem of a dataset that says the same, or nearly the same.

A problem that models are judged or tuned on must never be trained on, and one that is trained on brings nothing new;
its gold answer, though, tells whether an answer was right, and whether a vote was honest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from rjepa.datasets.leaks import NEAR, datasets_at_home
from rjepa.datasets.novelty import Text, near_in_part, stored_texts
from rjepa.datasets.parts import part_paths
from rjepa.datasets.statements import SPLITS, Fingerprints, fingerprint, key, matches, part_fingerprints
from rjepa.home import Home
from rjepa.schemas import Problem, Split
from rjepa.tables import to_records

DOMAIN: Final = "feedback"
"""The domain and the source that users' questions are given: their kind (code, maths, ...) is not known."""

FEEDBACK: Final = f"{DOMAIN}-"
"""Ids of problems that came from feedback, and names of their data sets, begin so."""


@dataclass(frozen=True)
class KnownProblem:
    """A problem like a question. `problem` is there where the two are equal after normalisation."""

    dataset: str
    problem_id: str
    split: Split
    similarity: float
    in_parent: bool
    problem: Problem | None = None

    @property
    def held_out(self) -> bool:
        """Whether models are judged or tuned on it."""
        return self.split != "train"

    @property
    def from_feedback(self) -> bool:
        """Whether it came from feedback itself."""
        return self.problem_id.startswith(FEEDBACK)


def find_known(home: Home, statements: Sequence[str], parent: str | None = None) -> list[KnownProblem | None]:
    """For each statement the known problem that matters most: one held out, then one of `parent`, then any other.

    Args:
        parent: the version that the next one grows from. Problems from feedback count there alone: elsewhere they are
            what an earlier run, perhaps a killed one, made of the same interactions.

    Raises:
        CorruptError: a dataset of the home is damaged, so that nobody can tell what it holds.
    """
    found: list[KnownProblem | None] = [None] * len(statements)
    if not statements:
        return found
    new, texts = fingerprint(as_problems(statements)), as_texts(statements)
    of_parent = set(part_paths(home, parent, "problems")) if parent is not None else set()
    seen: set[Path] = set()
    for dataset in [*([parent] if parent is not None else []), *datasets_at_home(home)]:
        for path in part_paths(home, dataset, "problems"):
            if path in seen:
                continue
            seen.add(path)
            for row, known in _in_part(home, path, dataset, texts, new, path in of_parent):
                if known.from_feedback and not known.in_parent:
                    continue
                best = found[row]
                if best is None or _weight(known) > _weight(best):
                    found[row] = known
    return found


def as_problems(statements: Sequence[str]) -> list[Problem]:
    """Statements as problems, to be compared with others. Their ids are their places."""
    return [
        Problem(problem_id=str(place), domain=DOMAIN, source=DOMAIN, statement=statement, split="train")
        for place, statement in enumerate(statements)
    ]


def as_texts(statements: Sequence[str]) -> list[Text]:
    """Statements as `rjepa.datasets.novelty` compares them: whatever their answers are."""
    return [(str(place), statement, None) for place, statement in enumerate(statements)]


def _in_part(
    home: Home,
    path: Path,
    dataset: str,
    texts: Sequence[Text],
    new: Fingerprints,
    in_parent: bool,
) -> list[tuple[int, KnownProblem]]:
    """(row of the statement, problem of the part): equal ones, and near-duplicates of what has no equal one."""
    old = part_fingerprints(home, path)
    old_rows, rows = (found.tolist() for found in matches(old.statements, new.statements))
    whole = _problems(path, old_rows)
    found = [
        (row, KnownProblem(dataset, whole[old_row].problem_id, _split(old, old_row), 1.0, in_parent, whole[old_row]))
        for old_row, row in zip(old_rows, rows, strict=True)
    ]
    equal = set(rows)
    near = near_in_part(path, old, texts, new, NEAR, lambda _, row: row not in equal)
    by_id = {int(each): row for row, each in enumerate(old.ids)} if near else {}
    for row, problem_id, alike in near:
        split = _split(old, by_id[key(problem_id)])
        found.append((row, KnownProblem(dataset, problem_id, split, alike, in_parent)))
    return found


def _problems(path: Path, rows: Sequence[int]) -> dict[int, Problem]:
    """The problems at these rows of a part."""
    import pyarrow.parquet as pq

    if not rows:
        return {}
    ids = {row: text[0] for row, text in stored_texts(path, rows).items()}
    table = pq.read_table(path, filters=[("problem_id", "in", sorted(set(ids.values())))])
    by_id = {problem.problem_id: problem for problem in to_records(Problem, table)}
    return {row: by_id[problem_id] for row, problem_id in ids.items()}


def _weight(known: KnownProblem) -> tuple[bool, bool, float]:
    return known.held_out, known.in_parent, known.similarity


def _split(old: Fingerprints, row: int) -> Split:
    return SPLITS[int(np.asarray(old.splits)[row])]
