"""Two R-JEPAs on the same problems: how much better or worse is one, and how sure is that? Pure counts and bounds.

Every problem is right or wrong under each of the two, so that only the problems on which they differ say anything.
Bounds are those of Tango's score test for paired shares (Statistics in Medicine 17, 1998): unlike a bootstrap or a
normal interval they stay honest where the two hardly ever differ. "Better" is McNemar's exact test, which holds its
level for any number of problems. Which bounds a release has to meet is decided in `rjepa.releases.gate`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtri

from rjepa.arrays import Bools, Float64, Int64
from rjepa.tails import chance_of_at_least

_HALVINGS: Final = 60
"""Steps of the bisection for a bound: 2 / 2^60 is below the last digit of a float64."""


@dataclass(frozen=True)
class PairedCounts:
    """Problems judged, and those that only the first or only the second got right.

    Attributes hold one number or arrays of one shape: `benchmarks/gate.py` tests a thousand challengers at once.
    """

    problems: Int64 | int
    only_first: Int64 | int
    only_second: Int64 | int

    @classmethod
    def of(cls, first: Bools, second: Bools) -> "PairedCounts":
        """Count right and wrong answers of two on the same problems, `[problems]` each.

        Raises:
            ValueError: the two have different lengths, or there is no problem.
        """
        if first.shape != second.shape or first.ndim != 1 or not len(first):
            raise ValueError(f"expected the same problems twice, got {first.shape} and {second.shape}")
        return cls(len(first), int((first & ~second).sum()), int((~first & second).sum()))

    @property
    def difference(self) -> Float64:
        """Accuracy of the first minus that of the second, a share."""
        ahead = np.asarray(self.only_first) - np.asarray(self.only_second)
        return np.asarray(ahead / np.asarray(self.problems), dtype=np.float64)

    def z_against(self, difference: Float64 | float) -> Float64:
        """Score statistic of "the true difference is `difference`": positive where the first did better than that."""
        n, b, c = (np.asarray(x, dtype=np.float64) for x in (self.problems, self.only_first, self.only_second))
        # Tango (1998): the likeliest share of "only second" under the hypothesis, a root of a quadratic equation.
        linear = (2.0 * n - b + c) * difference - b - c
        constant = -c * difference * (1.0 - difference)
        share = (np.sqrt(np.maximum(linear**2 - 8.0 * n * constant, 0.0)) - linear) / (4.0 * n)
        variance = n * (2.0 * share + difference * (1.0 - difference))
        excess = b - c - n * difference
        with np.errstate(divide="ignore", invalid="ignore"):
            z = excess / np.sqrt(np.maximum(variance, 0.0))
        return np.where(np.isnan(z), 0.0, z)

    def lower_bound(self, level: float) -> Float64:
        """One-sided bound: the true difference is below it with a chance of at most `level`."""
        return self._bound(-float(ndtri(level)))

    def interval(self, confidence: float = 0.95) -> tuple[Float64, Float64]:
        """Two-sided interval of the difference."""
        z = -float(ndtri((1.0 - confidence) / 2.0))
        return self._bound(z), self._bound(-z)

    def p_better(self) -> Float64:
        """McNemar's exact one-sided p-value of "the first is no better": 1 where the two never differ."""
        first, second = np.asarray(self.only_first), np.asarray(self.only_second)
        return np.asarray(chance_of_at_least(first, first + second), dtype=np.float64)

    def discordance(self) -> Float64:
        """Share of problems on which the two differ, with one made-up problem more: 0 of 30 is no proof of never."""
        differing = np.asarray(self.only_first) + np.asarray(self.only_second)
        return np.asarray((differing + 1.0) / (np.asarray(self.problems) + 1.0), dtype=np.float64)

    def _bound(self, z: float) -> Float64:
        """The difference at which the score statistic is `z`, which falls as the difference rises."""
        low = np.full(np.shape(self.difference), -1.0 + 1e-12)
        high = np.full(np.shape(self.difference), 1.0 - 1e-12)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2.0
            above = self.z_against(middle) > z
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.asarray((low + high) / 2.0, dtype=np.float64)


def problems_to_show(discordance: float, distance: float, level: float, power: float = 0.9) -> int:
    """Judged problems with which a bound at `level` is met in a share `power` of all cases.

    Args:
        discordance: share of problems on which the two differ.
        distance: between the true difference and the one to be excluded, a share: the margin for an equal challenger.
        level: chance of a false "yes".
    """
    if not (0 < discordance <= 1 and 0 < distance < 1):
        raise ValueError(f"shares must lie in (0, 1], got {discordance} and {distance}")
    z = -float(ndtri(level))
    by_spread = discordance * (z + float(ndtri(power))) ** 2 / distance**2
    # Where the two never differ, the score statistic is sqrt(n m / (1 - m)).
    never_differing = z**2 * (1.0 - distance) / distance
    return int(np.ceil(max(by_spread, never_differing)))
