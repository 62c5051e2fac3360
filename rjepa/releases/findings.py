"""What two evaluation records of the same candidates say of each other: by domain, with intervals and bounds. Pure.

Which findings let a challenger be served is decided in `rjepa.releases.gate`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np
from pydantic import Field

from rjepa.arrays import Bools
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.paired import PairedCounts, problems_to_show
from rjepa.evaluation.records import EvaluationRecord
from rjepa.values import FrozenValue

Rule = Literal["replace", "improve", "nightly"]
"""`replace`: a person asked, so that it is enough to be not worse. `improve`: a gain has to be shown, once.
`nightly`: the same every night, so that errors of all nights together stay rare (`rjepa.releases.night`)."""

LOSS_OVERALL: Final = 0.03
"""Three points: the loss that a release must never bring. What is smaller than that, a person who asks may accept."""
LEVEL_OVERALL: Final = 0.005
"""Chance that a challenger which is worse by `LOSS_OVERALL` looks as if it were not: half of the 1 % that is promised,
as the bound is not exact and a simulation of it has luck of its own."""

LOSS_IN_DOMAIN: Final[dict[Rule, float]] = {"replace": 0.05, "improve": 0.03, "nightly": 0.03}
"""A domain has a third of the problems and less, and with them a bound that is nearly twice as wide. A person who asks
accepts a domain's loss of less than five points; the night, which runs unattended, of less than three."""
LEVEL_IN_DOMAIN: Final = 0.05
"""Chance that a domain which lost its margin looks as if it had not. All domains have to pass at once, so that the
chance that all of several losses stay unseen is far smaller, and no correction for their number is needed."""

Pair = tuple[EvaluationRecord, EvaluationRecord]
"""A challenger and a current release, judged on the same candidates."""

LEVEL_BETTER: Final = 0.025
"""Chance that a challenger which is no better looks better: the lower end of a 95 % interval above zero."""


class Finding(FrozenValue):
    """Challenger against current release on the problems of one domain, or on all of them."""

    domain: str
    problems: int
    challenger_accuracy: float
    current_accuracy: float
    only_challenger: int = Field(description="problems that only the challenger got right")
    only_current: int
    difference: float = Field(description="of accuracies, challenger minus current")
    low: float = Field(description="95 % interval of the difference")
    high: float
    margin: float = Field(description="loss that the rule excludes here")
    bound: float = Field(description="the true difference is below this with a chance of `level`")
    level: float
    p_better: float = Field(description="McNemar's exact one-sided p-value of being no better")
    problems_needed: int = Field(description="with which an equally good challenger passes nine times in ten")

    @property
    def not_worse(self) -> bool:
        """Whether a loss of the margin is excluded."""
        return self.bound > -self.margin

    @property
    def is_worse(self) -> bool:
        """Whether a gain, and no change, are excluded."""
        return self.high < 0

    def describe(self) -> str:
        """The finding in one line, in points."""
        return (
            f"{self.domain}: {100 * self.challenger_accuracy:.1f} % against {100 * self.current_accuracy:.1f} % on "
            f"{self.problems} problems, {100 * self.difference:+.1f} points [{100 * self.low:+.1f}, "
            f"{100 * self.high:+.1f}]"
        )


def compare(
    challenger: EvaluationRecord, current: EvaluationRecord, rule: Rule, earlier: Sequence[Pair] = ()
) -> tuple[Finding, ...]:
    """Both on the same problems: over all of them first, then in each domain where there is more than one.

    Args:
        earlier: the same two on other problems, which are counted with these. What is offered again and again has
            several chances to seem harmless on one set, and several to seem harmful.
    """
    pairs = [*earlier, (challenger, current)]
    ours, theirs = (np.concatenate([pair[side].right for pair in pairs]) for side in range(2))
    where = np.concatenate([np.array(pair[0].domains) for pair in pairs])
    masks = {str(name): where == name for name in np.unique(where) if name != ALL}
    return find_in(ours, theirs, masks, rule, looks=len(pairs))


def find_in(
    challenger: Bools, current: Bools, domains: Mapping[str, Bools], rule: Rule, *, looks: int = 1
) -> tuple[Finding, ...]:
    """Two on the same problems: over all of them first, then in each domain where there is more than one.

    Args:
        challenger, current: whether each problem was answered right, `[problems]`.
        domains: which of the problems each domain has, `[problems]`.
        looks: how often the two were compared, this time included; the levels of bounds are divided by it.
    """
    masks = {ALL: np.ones(len(challenger), dtype=bool)} | (dict(domains) if len(domains) > 1 else {})
    findings = []
    for domain, mask in masks.items():
        ours, theirs = challenger[mask], current[mask]
        counts = PairedCounts.of(ours, theirs)
        margin = LOSS_OVERALL if domain == ALL else LOSS_IN_DOMAIN[rule]
        level = (LEVEL_OVERALL if domain == ALL else LEVEL_IN_DOMAIN) / looks
        low, high = counts.interval()
        findings.append(
            Finding(
                domain=domain,
                problems=int(mask.sum()),
                challenger_accuracy=float(ours.mean()),
                current_accuracy=float(theirs.mean()),
                only_challenger=int(counts.only_first),
                only_current=int(counts.only_second),
                difference=float(counts.difference),
                low=float(low),
                high=float(high),
                margin=margin,
                bound=float(counts.lower_bound(level)),
                level=level,
                p_better=float(counts.p_better()),
                problems_needed=problems_to_show(float(counts.discordance()), margin, level),
            )
        )
    return tuple(findings)
