"""Decide whether a challenger may replace the release that is served. Pure: two evaluation records in, a decision out.

Measuring what is missing lives in `rjepa.releases.stage`, bundles in `bundle`, the pointer in `pointer`;
docs/releases.md explains the rules, `python -m benchmarks.gate` shows by simulation what they let through.
"""

from typing import Final, Literal

import numpy as np
from pydantic import Field

from rjepa.evaluation.leaderboard import ALL
from rjepa.evaluation.paired import PairedCounts, problems_to_show
from rjepa.evaluation.records import EvaluationRecord
from rjepa.values import FrozenValue

Rule = Literal["replace", "improve"]
"""`replace`: a person asked, so that it is enough to be not worse. `improve`: the night asks, and must show a gain."""

Reason = Literal[
    "first_release",
    "already_current",
    "other_student",
    "damaged",
    "not_worse",
    "better",
    "diagnostics_failed",
    "other_candidates",
    "no_such_claim",
    "worse",
    "not_better",
    "too_few_problems",
]

Unmeasurable = Literal["other_student", "damaged"]

_WHY: Final[dict[Unmeasurable, str]] = {
    "other_student": "it was made for another student than this tag has now",
    "damaged": "its files are not what its manifest says, or an earlier version of R-JEPA made it",
}

LOSS_OVERALL: Final = 0.03
"""Three points: the loss that a release must never bring. What is smaller than that, a person who asks may accept."""
LEVEL_OVERALL: Final = 0.005
"""Chance that a challenger which is worse by `LOSS_OVERALL` looks as if it were not: half of the 1 % that is promised,
as the bound is not exact and a simulation of it has luck of its own."""

LOSS_IN_DOMAIN: Final[dict[Rule, float]] = {"replace": 0.05, "improve": 0.03}
"""A domain has a third of the problems and less, and with them a bound that is nearly twice as wide. A person who asks
accepts a domain's loss of less than five points; the night, which runs unattended, of less than three."""
LEVEL_IN_DOMAIN: Final = 0.05
"""Chance that a domain which lost its margin looks as if it had not. All domains have to pass at once, so that the
chance that all of several losses stay unseen is far smaller, and no correction for their number is needed."""

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


class Decision(FrozenValue):
    """What the gate decided. `reason` is for machines, `text` for people, `findings` are the numbers behind both."""

    promote: bool
    rule: Rule
    claim: str = Field(description="where the challenger has to be better under `improve`: all, or a domain")
    reason: Reason
    text: str
    candidates: str | None = Field(None, description="hash of the candidates that both were judged on")
    findings: tuple[Finding, ...] = Field((), description="over all problems first, then by domain")

    def numbers(self) -> dict[str, float]:
        """The findings as flat numbers, for metadata."""
        values: dict[str, float] = {}
        for finding in self.findings:
            row = finding.model_dump(mode="json", exclude={"domain"})
            values |= {f"{finding.domain}_{name}": float(value) for name, value in row.items()}
        return values


def decide(
    challenger: EvaluationRecord,
    current: EvaluationRecord | None,
    *,
    rule: Rule = "replace",
    claim: str = ALL,
    diagnostics_passed: bool = True,
    unmeasurable: Unmeasurable | None = None,
) -> Decision:
    """Decide between a challenger and the current release by their records on the same candidates.

    Args:
        current: of the release that is served now; None where nothing is served that could be judged.
        rule: `replace` asks for not worse overall and in every domain; `improve` also for better where `claim` says.
        claim: "all" or the name of a domain. It has to be named before the numbers are seen.
        diagnostics_passed: whether the challenger's world model has learnt and not collapsed.
        unmeasurable: why the current release cannot be judged on the challenger's candidates. It cannot answer any more
            either, so that a person may replace it unmeasured; the night may not.
    """

    def say(
        promote: bool, reason: Reason, text: str, hashed: str | None = None, findings: tuple[Finding, ...] = ()
    ) -> Decision:
        return Decision(
            promote=promote, rule=rule, claim=claim, reason=reason, text=text, candidates=hashed, findings=findings
        )

    if not diagnostics_passed:
        return say(False, "diagnostics_failed", "the world model's diagnostics failed")
    if unmeasurable is not None:
        return say(rule == "replace", unmeasurable, f"the current release cannot be judged: {_WHY[unmeasurable]}")
    if current is None:
        return say(True, "first_release", "there is no release to compare with")
    hashed = challenger.candidates.sha256
    if hashed != current.candidates.sha256 or challenger.problem_ids != current.problem_ids:
        return say(False, "other_candidates", "the two were judged on different candidates: judge both on the same")
    findings = compare(challenger, current, rule)
    # The one domain of a data set is all of it.
    place = ALL if set(challenger.domains) == {claim} else claim
    reason, text = _judge(findings, rule, place)
    return say(reason in ("not_worse", "better"), reason, text, hashed, findings)


def compare(challenger: EvaluationRecord, current: EvaluationRecord, rule: Rule) -> tuple[Finding, ...]:
    """Both on the same problems: over all of them first, then in each domain where there is more than one."""
    everything = np.ones(challenger.num_problems, dtype=bool)
    names = [name for name in challenger.domain_names() if name != ALL]
    masks = {ALL: everything} | ({name: challenger.in_domain(name) for name in names} if len(names) > 1 else {})
    findings = []
    for domain, mask in masks.items():
        ours, theirs = challenger.right[mask], current.right[mask]
        counts = PairedCounts.of(ours, theirs)
        margin = LOSS_OVERALL if domain == ALL else LOSS_IN_DOMAIN[rule]
        level = LEVEL_OVERALL if domain == ALL else LEVEL_IN_DOMAIN
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


def _judge(findings: tuple[Finding, ...], rule: Rule, claim: str) -> tuple[Reason, str]:
    """Reason and text: what is shown to be worse first, then what is undecided, then whether the claim holds."""
    # A loss that is shown, but smaller than the margin, is what a person may accept.
    worse = [finding for finding in findings if finding.is_worse and (rule == "improve" or not finding.not_worse)]
    if worse:
        return "worse", f"the challenger is worse: {_join(worse)}"
    unclear = [finding for finding in findings if not finding.not_worse]
    if unclear:
        return "too_few_problems", f"too few problems were judged to tell: {_needs(unclear)}"
    if rule == "replace":
        return "not_worse", f"the challenger is not worse: {_join(findings)}"
    claimed = next((finding for finding in findings if finding.domain == claim), None)
    if claimed is None:
        known = ", ".join(finding.domain for finding in findings)
        return "no_such_claim", f"the challenger claims to be better in {claim}, and only {known} were judged"
    if claimed.p_better <= LEVEL_BETTER:
        return "better", f"the challenger is better, and worse nowhere: {_join(findings)}"
    wanted = problems_to_show(_discordance(claimed), LOSS_OVERALL, LEVEL_BETTER)
    if claimed.problems < wanted and claimed.high > LOSS_OVERALL:
        text = (
            f"too few problems were judged to tell whether the challenger is better: {claimed.describe()}; "
            f"a gain of {100 * LOSS_OVERALL:.0f} points shows on about {wanted}"
        )
        return "too_few_problems", text
    return "not_better", f"the challenger is not shown to be better: {claimed.describe()}"


def _needs(findings: list[Finding]) -> str:
    return "; ".join(
        f"{finding.describe()}, a loss of {100 * finding.margin:.0f} points is not excluded "
        f"(needs about {finding.problems_needed} problems{_more(finding)})"
        for finding in findings
    )


def _more(finding: Finding) -> str:
    """Where there are enough problems for an equal challenger, this one is too close to its margin."""
    return (
        "" if finding.problems_needed > finding.problems else " for an equal challenger; this one did worse than that"
    )


def _discordance(finding: Finding) -> float:
    return float(PairedCounts(finding.problems, finding.only_challenger, finding.only_current).discordance())


def _join(findings: list[Finding] | tuple[Finding, ...]) -> str:
    return "; ".join(finding.describe() for finding in findings)
