"""Does a chain's energy find its first wrong step? AUROC over steps, and F1 over chains at a fitted threshold.

Pure functions over ragged energies. Steps after the first error never count: what follows from a wrong step is neither
right nor the first error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rjepa.arrays import Bools, Float64, Int64
from rjepa.evaluation.metrics import auroc

_THRESHOLDS: Final = 200
"""Quantiles of the chains' highest energies that are tried: finer than a validation set can tell apart."""


@dataclass(frozen=True)
class FirstErrorSteps:
    """Segments up to and at each chain's first error, of the chains whose steps were all judged.

    Attributes:
        energies: float64 `[segments]`.
        is_first_error: bool `[segments]`.
        positions: int64 `[segments]`, index of the segment in its chain: the control, as errors come late.
        chains: how many chains with a located error are in.
        unaligned: chains left out because their error lies beyond their last segment.
    """

    energies: Float64
    is_first_error: Bools
    positions: Int64
    chains: int
    unaligned: int

    def auroc(self) -> float:
        """P(the first wrong segment has more energy than a right one)."""
        return auroc(self.energies, self.is_first_error)

    def position_auroc(self) -> float:
        """What the segment's position alone gives."""
        return auroc(self.positions.astype(np.float64), self.is_first_error)


def first_error_steps(
    energies: Sequence[Float64], first_errors: Sequence[int | None], all_right: Sequence[bool]
) -> FirstErrorSteps:
    """Gather the segments that the first-error AUROC compares.

    Segments after the first error are left out: what follows from a wrong step is neither right nor the first error.
    Chains with no located error count, as a whole, only if every step of theirs was found right.

    Args:
        energies: of segments 1.. of each chain, so that index 0 is step 0.
        first_errors: step index of the first wrong step of each chain, None for none or unknown.
        all_right: whether a chain is known to be right in every step.
    """
    values, marks, chains, unaligned = [], [], 0, 0
    for energy, first, right in zip(energies, first_errors, all_right, strict=True):
        if first is not None and first < len(energy):
            values.append(energy[: first + 1])
            marks.append(np.arange(first + 1) == first)
            chains += 1
        elif first is not None:
            unaligned += 1
        elif right:
            values.append(energy)
            marks.append(np.zeros(len(energy), dtype=bool))
    return FirstErrorSteps(
        energies=np.concatenate([np.zeros(0), *values]),
        is_first_error=np.concatenate([np.zeros(0, dtype=bool), *marks]),
        positions=np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(len(mark)) for mark in marks)]),
        chains=chains,
        unaligned=unaligned,
    )


@dataclass(frozen=True)
class FirstErrorF1:
    """Harmonic mean of `found` (share of wrong chains whose first wrong step was named exactly) and `spared` (share of
    right chains in which no step was flagged), as ProcessBench (arXiv:2412.06559) counts it. NaN without both kinds.
    """

    found: float
    spared: float
    threshold: float

    @property
    def f1(self) -> float:
        total = self.found + self.spared
        return 2 * self.found * self.spared / total if total > 0 else total


def first_error_f1(
    energies: Sequence[Float64], first_errors: Sequence[int | None], all_right: Sequence[bool], threshold: float
) -> FirstErrorF1:
    """F1 of "the first step whose energy is above the threshold is the first wrong one". Arguments as
    `first_error_steps`; chains that are neither located nor known to be right do not count.
    """
    table, first, right = _padded(energies, first_errors, all_right)
    return _f1(table, first, right, threshold)


def fit_threshold(energies: Sequence[Float64], first_errors: Sequence[int | None], all_right: Sequence[bool]) -> float:
    """The threshold with the best F1. Fit it on validation chains; inf where there is nothing to fit on."""
    table, first, right = _padded(energies, first_errors, all_right)
    highest = table.max(axis=1, initial=-np.inf)
    highest = highest[np.isfinite(highest)]
    if not highest.size or right.all() or not right.any():
        return float("inf")
    tried = np.unique(np.quantile(highest, np.linspace(0, 1, _THRESHOLDS)))
    return float(max(tried, key=lambda threshold: _f1(table, first, right, threshold).f1))


def _padded(
    energies: Sequence[Float64], first_errors: Sequence[int | None], all_right: Sequence[bool]
) -> tuple[Float64, Int64, Bools]:
    """Chains that count as rows padded with -inf, the index of each first error (-1: none), whether each is right."""
    kept = [
        (energy, -1 if first is None else first)
        for energy, first, right in zip(energies, first_errors, all_right, strict=True)
        if (first is not None and first < len(energy)) or (first is None and right)
    ]
    table = np.full((len(kept), max((len(energy) for energy, _ in kept), default=0)), -np.inf)
    for row, (energy, _) in enumerate(kept):
        table[row, : len(energy)] = energy
    first = np.array([first for _, first in kept], dtype=np.int64)
    return table, first, first < 0


def _f1(table: Float64, first: Int64, right: Bools, threshold: float) -> FirstErrorF1:
    if right.all() or not right.any():
        return FirstErrorF1(float("nan"), float("nan"), threshold)
    flagged = table > threshold
    named = np.where(flagged.any(axis=1), flagged.argmax(axis=1), -1)
    hit = named == first
    return FirstErrorF1(float(hit[~right].mean()), float(hit[right].mean()), threshold)
