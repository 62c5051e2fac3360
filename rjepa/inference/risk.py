"""The risk dial: at which P(correct) may a release answer, so that at most a given share of its answers is wrong?

What is bounded is the error among the answers that are given, in every domain of the validation problems at once, with
confidence `1 - DELTA`. Ten thresholds are tested by the exact binomial bound of Clopper and Pearson (Biometrika 26,
1934), each at a tenth of the level (Bonferroni), so that any that passes is safe; the one that answers most is used. A
threshold passes where every domain does, which needs no correction: a claim about all is wrong only where the claim
about one of them is (Berger, Technometrics 24, 1982). This is "learn then test" (Angelopoulos, Bates, Candès, Jordan,
Lei, arXiv:2110.01052) with the selective risk of Geifman and El-Yaniv (NeurIPS 2017). It holds for problems such as
those of validation; on others the guard of `rjepa.inference.familiarity` keeps the dial from answering at all.

What is counted is the policy itself, with its looks at P(correct) after every candidate: `rjepa.inference.stopping`.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from pydantic import Field

from rjepa.inference.stopping import Path
from rjepa.tails import highest_share
from rjepa.values import FrozenValue

DELTA: Final = 0.1
"""Chance that a release's bound is wrong: one calibration in ten."""

SHARES: Final = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0)
"""The thresholds are those at which so much of the validation problems is answered. More of them would cost each some
of its level."""


class RiskPoint(FrozenValue):
    """How many validation problems of one domain were answered at a threshold, and how many of them wrongly."""

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
        level = DELTA / len({point.threshold for point in self.points})
        return max(highest_share(point.wrong, point.answered, level) for point in points)

    def threshold(self, max_error: float) -> float | None:
        """The lowest P(correct) to answer at; None where no threshold keeps that promise."""
        kept = [one for one in sorted({point.threshold for point in self.points}) if self.bound(one) <= max_error]
        return kept[0] if kept else None

    def least(self) -> float:
        """The smallest `max_error` that can be promised."""
        return min((self.bound(point.threshold) for point in self.points), default=1.0)


def count_risk(path: Path, domains: Sequence[str]) -> RiskTable:
    """Count, for each threshold and domain, how many problems are answered and how many of them wrongly.

    Args:
        path: of validation problems, with P(correct) from models that were fitted on others.
        domains: of the problems.
    """
    names = np.array(domains)
    points = []
    best = np.nan_to_num(path.p_correct).max(axis=1)
    for threshold in sorted({float(np.quantile(best, 1.0 - share)) for share in SHARES}):
        stop = path.stop_at(threshold)
        for name in sorted(set(domains)):
            mine = stop.reached & (names == name)
            wrong = int((mine & ~stop.right).sum())
            points.append(RiskPoint(threshold=threshold, domain=name, answered=int(mine.sum()), wrong=wrong))
    return RiskTable(points=tuple(points), candidates=path.p_correct.shape[1])
