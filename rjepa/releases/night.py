"""What a night has to show beyond `improve`, so that few months serve anything that is no better. Pure.

Thirty tests of a level of 5 % promote something false in four months of five. So a night's tests all have the level
`alpha`, which `rjepa.living.budget` draws from a budget of errors over nights, and "better" is evidence that may be
asked for again on further problems (`rjepa.evaluation.betting`). docs/nightly-gate.md says what is promised over a
month.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import Field

from rjepa.evaluation.betting import log_evidence
from rjepa.evaluation.calibration_rise import compare_calibration
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.metrics import expected_calibration_error
from rjepa.evaluation.paired import PairedCounts
from rjepa.evaluation.records import EvaluationRecord
from rjepa.releases.findings import LOSS_OVERALL, Finding, Pair
from rjepa.values import FrozenValue

MONTHLY_LOSS_IN_DOMAIN: Final = 0.05
"""Five points: the loss in a domain that no month may bring. Three, as of one night, would need 1 600 problems a
domain at the level of a month; 500 exclude five of an equal challenger three times in four."""

LOSS_OF_CALIBRATION: Final = 0.05
"""Five points: the rise of the calibration error that a night excludes. With three, on 1 000 problems, it would refuse
four in ten that tell their chances as well as what is served (the setting "fitted" of `benchmarks.told_chances`)."""
LEVEL_OF_CALIBRATION: Final = 0.05
"""Level of the test: of challengers whose error has risen by `LOSS_OF_CALIBRATION` at most this share passes. The level
is not taken from the month's budget of errors, since a wrongly told chance harms less than a wrong answer and the next
night measures it again. A challenger that is offered on several sealed sets has several chances to seem harmless, so
that the level is divided by their number."""
LEAST_TOLD: Final = 100
"""Problems for which both must tell P(correct), or calibration is not compared: of fewer it is mostly luck."""


class NightTerms(FrozenValue):
    """What a night's decision is made under. Drawn once for a challenger, a current release and candidates."""

    sealed_set: str = Field(description="the problems that the evidence comes from")
    uses: int = Field(description="challengers that were tested on this set, this one included")
    uses_allowed: int = Field(description="after so many, or once it promoted something, the set is retired")
    alpha: float = Field(ge=0, lt=1, description="level of every test of this night; 0: nothing is left of the budget")
    budget: float = Field(description="of errors, over any `nights` nights in a row")
    nights: int
    budget_left: float = Field(description="after this night")
    carried: float = Field(0.0, description="logarithm of this challenger's evidence from earlier sealed sets")
    old_domains: tuple[str, ...] = Field(description="what the current release learnt: there nothing may be forgotten")


@dataclass(frozen=True)
class NightBasis:
    """What a night's decision rests on beside the two records that it compares."""

    terms: NightTerms
    earlier: tuple[Pair, ...] = ()
    """records of the same two on the sealed sets that they were tested on before"""


class MonthlyBound(FrozenValue):
    """A loss that no month may bring, and the bound that excludes it."""

    domain: str
    margin: float
    bound: float = Field(description="the true difference is below this with a chance of alpha")

    @property
    def holds(self) -> bool:
        """Whether a loss of the margin is excluded."""
        return self.bound > -self.margin


class CalibrationFinding(FrozenValue):
    """How much worse the challenger tells its P(correct). Errors are root-mean-square, less what chance adds."""

    problems: int = Field(description="for which both tell it")
    sets: int = Field(1, description="sealed sets that they are of: all on which these two were tested")
    challenger_error: float
    current_error: float
    challenger_ece: float = Field(description="of the same, over 10 bins of equal width; nothing rests on it")
    current_ece: float
    rise: float = Field(description="of the error, challenger minus current")
    bound: float = Field(description="the true rise is above this with a chance of 5 % / `sets`")
    margin: float = Field(description="the bound has to be below it")
    farthest: str = Field(
        "", description="domain in which the challenger's mean chance is farthest from what came true"
    )
    farthest_told: float = Field(0.0, description="its mean chance there")
    farthest_came: float = Field(0.0, description="share of its answers there that are right")

    @property
    def holds(self) -> bool:
        """Whether a rise of the margin is excluded."""
        return self.bound < self.margin

    def describe(self) -> str:
        """The errors in a few words."""
        where = f"{self.problems} problems" + (f" of {self.sets} sets" if self.sets > 1 else "")
        farthest = (
            f", farthest in {self.farthest} ({self.farthest_told:.2f} told, {self.farthest_came:.2f} right)"
            if self.farthest
            else ""
        )
        return (
            f"its error is {self.challenger_error:.3f} against {self.current_error:.3f} (ECE {self.challenger_ece:.3f} "
            f"against {self.current_ece:.3f}) on {where}{farthest}, and may have risen by {max(self.bound, 0.0):.3f}"
        )


class NightFinding(FrozenValue):
    """What the night found beside the findings of every gate."""

    terms: NightTerms
    evidence: float = Field(description="natural logarithm of the evidence that the challenger is better")
    needed: float = Field(description="logarithm of 1 / alpha; the evidence has to reach it")
    bounds: tuple[MonthlyBound, ...]
    calibration: CalibrationFinding | None = Field(description="None where too few chances are told")
    sets: int = Field(1, description="sealed sets on which these two were tested, all of which the findings count")

    @property
    def is_better(self) -> bool:
        """Whether the evidence suffices."""
        return self.evidence >= self.needed

    def numbers(self) -> dict[str, float]:
        """Flat numbers, for metadata."""
        terms = self.terms.model_dump(mode="json", exclude={"sealed_set", "old_domains"})
        values = {f"night_{name}": float(value) for name, value in terms.items()}
        values |= {"night_log_evidence": self.evidence, "night_log_evidence_needed": self.needed}
        values |= {f"night_{bound.domain}_bound": bound.bound for bound in self.bounds}
        if self.calibration is not None:
            figures = self.calibration.model_dump(mode="json", exclude={"farthest"})
            values |= {f"night_calibration_{name}": float(value) for name, value in figures.items()}
        return values

    def describe(self) -> str:
        """Evidence, calibration and budget in one line."""
        terms, told = self.terms, self.calibration
        calibration = f"P(correct): {told.describe()}; " if told is not None and told.holds else ""
        counted = f", with the problems of {self.sets - 1} before it" if self.sets > 1 else ""
        return (
            f"evidence {np.exp(self.evidence):.3g} to 1, {np.exp(self.needed):.0f} needed; {calibration}"
            f"set {terms.sealed_set}{counted}, use {terms.uses} of {terms.uses_allowed}; "
            f"{100 * terms.budget_left:.2f} % of {100 * terms.budget:g} % is left of {terms.nights} nights' budget"
        )


def find(
    challenger: EvaluationRecord,
    current: EvaluationRecord,
    findings: tuple[Finding, ...],
    claim: str,
    terms: NightTerms,
    earlier: Sequence[Pair] = (),
) -> NightFinding:
    """Test a challenger at the level of its night.

    Args:
        findings: of the same two on all sealed sets that they were tested on, over all problems and by domain.
        claim: where the challenger has to be better, "all" or a domain. The evidence of earlier sets is carried by the
            terms, so that this set alone is asked.
        earlier: records of the same two on the sealed sets that they were tested on before.

    Raises:
        ValueError: the terms leave no level to test at.
    """
    where = challenger.in_domain(claim)
    here = PairedCounts.of(challenger.right[where], current.right[where])
    return NightFinding(
        terms=terms,
        evidence=float(log_evidence(int(here.only_first), int(here.only_second), terms.alpha, terms.carried)),
        needed=float(-np.log(terms.alpha)),
        bounds=tuple(_bound(each, terms.alpha) for each in findings if is_protected(each.domain, terms)),
        calibration=_compare_calibration([*earlier, (challenger, current)]),
        sets=len(earlier) + 1,
    )


def is_protected(domain: str, terms: NightTerms) -> bool:
    """Whether a loss there has to be excluded: overall, and where the current release has something to forget."""
    return domain == ALL or domain in terms.old_domains


def _bound(finding: Finding, alpha: float) -> MonthlyBound:
    counts = PairedCounts(finding.problems, finding.only_challenger, finding.only_current)
    margin = LOSS_OVERALL if finding.domain == ALL else MONTHLY_LOSS_IN_DOMAIN
    return MonthlyBound(domain=finding.domain, margin=margin, bound=float(counts.lower_bound(alpha)))


def _compare_calibration(pairs: Sequence[Pair]) -> CalibrationFinding | None:
    """Over the problems of all sets on which the two were tested, as their evidence is: one set says little of it."""
    chances, right = [], []
    for side in range(2):
        chances.append(np.concatenate([pair[side].chances for pair in pairs]))
        right.append(np.concatenate([pair[side].right for pair in pairs]))
    confidence = 1 - LEVEL_OF_CALIBRATION / len(pairs)
    found = compare_calibration((chances[0], chances[1]), (right[0], right[1]), confidence=confidence)
    if found is None or found.problems < LEAST_TOLD:
        return None
    both = np.isfinite(chances[0]) & np.isfinite(chances[1])
    eces = [expected_calibration_error(told[both], came[both]) for told, came in zip(chances, right, strict=True)]
    domains = np.concatenate([np.array(pair[0].domains) for pair in pairs])[both]
    told, came = chances[0][both], right[0][both]
    means = {name: (float(told[domains == name].mean()), float(came[domains == name].mean())) for name in set(domains)}
    farthest = max(sorted(means), key=lambda name: abs(means[name][0] - means[name][1]))
    return CalibrationFinding(
        problems=found.problems,
        sets=len(pairs),
        challenger_error=found.first_error,
        current_error=found.second_error,
        challenger_ece=eces[0],
        current_ece=eces[1],
        rise=found.rise,
        bound=found.bound,
        margin=LOSS_OF_CALIBRATION,
        farthest=str(farthest),
        farthest_told=means[farthest][0],
        farthest_came=means[farthest][1],
    )
