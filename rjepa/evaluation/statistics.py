"""Is a difference real? Bootstrap over problems, paired; McNemar's exact test; Holm's correction.

Problems are the unit that is resampled: candidates of one problem are not independent. One set of resamples serves
every method, so that differences are paired.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from rjepa.arrays import Bools, Float64
from rjepa.tails import chance_of_at_most

RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95
_BLOCK: Final = 2_000_000
"""Counts held at once: 16 MB, however many problems and resamples."""
_GRAIN: Final = 2.0**24
"""Values are rounded to multiples of 1 / this, as fine as float32: sums of whole numbers are exact in float64, and so
the same in whatever order, and on however many threads, a matrix product adds them."""


class Resamples:
    """Bootstrap resamples of problems, kept as how often each problem was drawn."""

    def __init__(self, problems: int, *, rng: np.random.Generator, resamples: int = RESAMPLES) -> None:
        """
        Raises:
            ValueError: no problem, or fewer than two resamples.
        """
        if problems < 1 or resamples < 2:
            raise ValueError(f"need problems and at least 2 resamples, got {problems} and {resamples}")
        self.problems, self.resamples = problems, resamples
        # Drawn anew for each block from a stored seed: memory stays flat for any number of problems.
        self._seeds = rng.integers(0, 2**63, size=-(-resamples // self._rows()))

    def _rows(self) -> int:
        return max(1, min(self.resamples, _BLOCK // self.problems))

    def _counts(self, block: int) -> Float64:
        rows = min(self._rows(), self.resamples - block * self._rows())
        drawn = np.random.default_rng(self._seeds[block]).integers(0, self.problems, size=(rows, self.problems))
        drawn += np.arange(rows)[:, None] * self.problems
        return np.bincount(drawn.ravel(), minlength=rows * self.problems).reshape(rows, -1).astype(np.float64)

    def means(self, values: Float64) -> Float64:
        """Mean of each column in each resample: `[problems, columns]` -> float64 `[resamples, columns]`.

        NaN leaves a problem out of its column (a problem that is not mixed has no within-problem AUROC). Values are
        shares and their differences: sums stay exact as long as |value| times problems is below 2^29.
        """
        known = np.isfinite(values)
        filled = np.rint(np.where(known, values, 0.0) * _GRAIN)
        sums, counts = [], []
        for block in range(len(self._seeds)):
            drawn = self._counts(block)
            sums.append(drawn @ filled)
            counts.append(drawn @ known.astype(np.float64))
        total, count = np.concatenate(sums) / _GRAIN, np.concatenate(counts)
        means: Float64 = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return means


def interval(resampled: Float64, confidence: float = CONFIDENCE) -> tuple[Float64, Float64]:
    """Percentile interval over axis 0, ignoring NaN; NaN where nothing is known."""
    tail = (1.0 - confidence) / 2.0
    known = np.isfinite(resampled).any(axis=0)
    low, high = np.nanquantile(np.where(known, resampled, 0.0), [tail, 1.0 - tail], axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def bootstrap_p_value(resampled_difference: Float64) -> float:
    """Two-sided p-value of "no difference" from resampled paired differences `[resamples]`.

    Never 0: with n resamples nothing below 1 / (n + 1) can be seen.
    """
    below = (np.sum(resampled_difference <= 0) + 1) / (len(resampled_difference) + 1)
    above = (np.sum(resampled_difference >= 0) + 1) / (len(resampled_difference) + 1)
    return float(min(1.0, 2.0 * min(below, above)))


@dataclass(frozen=True)
class McNemar:
    """Problems that only one of two methods got right, and the exact two-sided p-value."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: Bools, second: Bools) -> McNemar:
    """Exact McNemar test of two methods on the same problems, `[problems]` each."""
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    discordant = only_first + only_second
    p_value = 2.0 * chance_of_at_most(min(only_first, only_second), discordant) if discordant else 1.0
    return McNemar(only_first, only_second, float(min(1.0, p_value)))


def holm(p_values: list[float]) -> list[float]:
    """Holm-adjusted p-values, in the given order: reject those below the level, and the family-wise error holds."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    running = 0.0
    for position, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = running
    return adjusted.tolist()
