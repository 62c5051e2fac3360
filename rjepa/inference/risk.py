"""The risk dial: at which P(correct) may a release answer, so that at most a given share of its answers is wrong?

What is bounded is the error among the answers that are given, in every domain of the validation problems at once, with
confidence `1 - DELTA`. Ten thresholds are tested, each in each domain, by the exact binomial bound of Clopper and
Pearson (Biometrika 26, 1934) at a level that is shared out among all tests (Bonferroni): any threshold that passes is
safe, and the one that answers most is used. This is "learn then test" (Angelopoulos, Bates, Candès, Jordan, Lei,
arXiv:2110.01052) with the selective risk of Geifman and El-Yaniv (NeurIPS 2017). It holds for problems such as those of
validation; on others the guard of `rjepa.inference.familiarity` keeps the dial from answering at all.

What is counted is the policy itself, with its looks at P(correct) after every candidate: `rjepa.inference.stopping`.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from pydantic import Field
from scipy.stats import beta

from rjepa.inference.stopping import Path
from rjepa.values import FrozenValue

DELTA: Final = 0.1
"""Chance that a release's bound is wrong: one calibration in ten."""

THRESHOLDS: Final = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.98)
"""Closer together where few errors are asked for. More of them would cost each some of its level."""


class RiskPoint(FrozenValue):
    """What answering at a threshold came to on the validation problems of one domain."""

    threshold: float
    domain: str
    answered: int
    wrong: int


class RiskTable(FrozenValue):
    """The counts that the dial is read from; without points nothing can be promised."""

    points: tuple[RiskPoint, ...] = ()
    candidates: int = Field(0, description="the most candidates that were drawn for a problem")

    def bound(self, threshold: float) -> float:
        """The share of wrong answers that is not exceeded in any domain, at one threshold."""
        points = [point for point in self.points if point.threshold == threshold]
        if not points:
            return 1.0
        level = DELTA / len(self.points)
        return max(_upper_bound(point.wrong, point.answered, level) for point in points)

    def threshold(self, max_error: float) -> float | None:
        """The lowest P(correct) to answer at; None where no threshold keeps that promise."""
        kept = [one for one in sorted({point.threshold for point in self.points}) if self.bound(one) <= max_error]
        return kept[0] if kept else None

    def least(self) -> float:
        """The smallest `max_error` that can be promised."""
        return min((self.bound(point.threshold) for point in self.points), default=1.0)


def count_risk(path: Path, domains: Sequence[str]) -> RiskTable:
    """Count what answering at each threshold comes to.

    Args:
        path: of validation problems, with P(correct) from models that were fitted on others.
        domains: of the problems.
    """
    names = np.array(domains)
    points = []
    for threshold in THRESHOLDS:
        stop = path.stop_at(threshold)
        for name in sorted(set(domains)):
            mine = stop.reached & (names == name)
            wrong = int((mine & ~stop.right).sum())
            points.append(RiskPoint(threshold=threshold, domain=name, answered=int(mine.sum()), wrong=wrong))
    return RiskTable(points=tuple(points), candidates=path.p_correct.shape[1])


def _upper_bound(wrong: int, answered: int, level: float) -> float:
    """Clopper and Pearson's one-sided bound of a share."""
    return 1.0 if wrong >= answered else float(beta.ppf(1.0 - level, wrong + 1, answered - wrong))
