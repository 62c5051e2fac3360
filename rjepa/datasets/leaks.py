"""Leaks of a whole dataset, measured on the index of its statements: a million problems in a second.

Within a dataset nothing may lie in two splits and no id be used twice; and nothing that is trained or tuned on may be a
test problem of another dataset in the home.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from rjepa.arrays import Int64, UInt8, UInt64
from rjepa.datasets.novelty import Text, near_in_part, stored_texts
from rjepa.datasets.parts import part_paths
from rjepa.datasets.statements import Fingerprints, matches, part_fingerprints
from rjepa.errors import CorruptError
from rjepa.home import Home

NEAR: Final = 0.8
"""Least similarity of a near-duplicate by default (docs/data.md shows what it finds)."""
_TEST: Final = 2
_MAX_SHOWN: Final = 5


@dataclass(frozen=True)
class Leaks:
    """Counts over a dataset, and some of what was found, in words."""

    problems: int
    repeated_ids: int
    statements_in_two_splits: int
    structures_in_two_splits: int
    examples: list[str] = field(default_factory=list)


def measure_leaks(home: Home, dataset: str) -> Leaks:
    """Ids used twice, and statements and structures that lie in two splits, over all parts of a dataset."""
    paths = part_paths(home, dataset, "problems")
    parts = [part_fingerprints(home, path) for path in paths]
    splits = np.concatenate([part.splits for part in parts])
    ids = np.concatenate([part.ids for part in parts])
    examples: list[str] = []
    repeated = _repeated(ids)
    if len(repeated):
        examples.append(f"used twice: {_names(paths, parts, repeated)}")
    found = []
    for what in ("statements", "structures"):
        keys: UInt64 = np.concatenate([getattr(part, what) for part in parts])
        rows = _in_two_splits(keys, splits)
        found.append(len(np.unique(keys[rows])))
        if len(rows):
            examples.append(f"{what} in two splits: {_names(paths, parts, rows)}")
    return Leaks(len(ids), len(np.unique(ids[repeated])), found[0], found[1], examples)


@dataclass(frozen=True)
class SeenTests:
    """Train and validation problems of a dataset that are test problems of another: (problem, other dataset, its test
    problem, similarity). 1.0: equal after normalisation. `unreadable`: datasets that are damaged, and why.
    """

    compared_with: list[str]
    found: list[tuple[str, str, str, float]]
    unreadable: list[str] = field(default_factory=list)


def measure_seen_tests(home: Home, dataset: str, threshold: float = NEAR) -> SeenTests:
    """Compare what a dataset trains and tunes on with the test problems of every other dataset in the home."""
    own = part_paths(home, dataset, "problems")
    compared: list[str] = []
    found: list[tuple[str, str, str, float]] = []
    unreadable: list[str] = []
    for other in datasets_at_home(home):
        if other == dataset:
            continue
        try:
            tests = [path for path in part_paths(home, other, "problems") if path not in own]
            probes = [probe for path in tests if (probe := _probes(home, path)) is not None]
        except CorruptError as error:
            unreadable.append(f"{other}: {error.problem}")
            continue
        if probes:
            compared.append(other)
        for texts, fingerprints in probes:
            for path in own:
                found += [
                    (mine, other, theirs, alike)
                    for mine, theirs, alike in _seen(home, path, texts, fingerprints, threshold)
                ]
    return SeenTests(compared, sorted(found), unreadable)


def datasets_at_home(home: Home) -> list[str]:
    """Names of the datasets whose problems are made."""
    return sorted(path.parent.name for path in (home.root / "datasets").glob("*/problems.parquet"))


def _probes(home: Home, path: Path) -> tuple[list[Text], Fingerprints] | None:
    """The test problems of a part; None where it has none."""
    fingerprints = part_fingerprints(home, path)
    rows = np.flatnonzero(fingerprints.splits == _TEST)
    if not len(rows):
        return None
    stored = stored_texts(path, rows.tolist())
    return [stored[row] for row in rows.tolist()], fingerprints.take(rows)


def _seen(
    home: Home, path: Path, texts: list[Text], tests: Fingerprints, threshold: float
) -> list[tuple[str, str, float]]:
    """(problem of the part, test problem, similarity) of what a part trains or tunes on."""
    own = part_fingerprints(home, path)
    equal = [
        (old, row)
        for old, row in zip(*(rows.tolist() for rows in matches(own.statements, tests.statements)), strict=True)
        if own.splits[old] != _TEST
    ]
    stored = stored_texts(path, [old for old, _ in equal])
    found = [(stored[old][0], texts[row][0], 1.0) for old, row in equal]
    done = {row for _, row in equal}

    def matters(old: int, row: int) -> bool:
        return own.splits[old] != _TEST and row not in done

    near = near_in_part(path, own, texts, tests, threshold, matters)
    return found + [(mine, texts[row][0], alike) for row, mine, alike in near]


def _repeated(keys: UInt64) -> Int64:
    """Rows whose key occurs more than once."""
    _, which, times = np.unique(keys, return_inverse=True, return_counts=True)
    return np.flatnonzero(times[which] > 1)


def _in_two_splits(keys: UInt64, splits: UInt8) -> Int64:
    """Rows whose key (0: none) occurs in more than one split."""
    _, which = np.unique(keys, return_inverse=True)
    earliest = np.full(len(keys), 255, np.uint8)
    latest = np.zeros(len(keys), np.uint8)
    np.minimum.at(earliest, which, splits)
    np.maximum.at(latest, which, splits)
    return np.flatnonzero((earliest[which] != latest[which]) & (keys != 0))


def _names(paths: Sequence[Path], parts: Sequence[Fingerprints], rows: Int64) -> str:
    """Ids of the first few problems at rows counted over all parts."""
    names, first = [], 0
    for path, part in zip(paths, parts, strict=True):
        here = [int(row) - first for row in rows[:_MAX_SHOWN] if first <= row < first + len(part)]
        names += [text[0] for text in stored_texts(path, here).values()]
        first += len(part)
    return ", ".join(names) + ("" if len(rows) <= _MAX_SHOWN else f" and {len(rows) - _MAX_SHOWN} more")
