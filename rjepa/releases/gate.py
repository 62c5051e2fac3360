"""Decide whether a challenger may replace the release that is served. Pure: two evaluation records in, a decision out.

What the records say of each other lives in `rjepa.releases.findings`, what a night has to show in `night`, measuring
what is missing in `stage`, bundles in `bundle`, the pointer in `pointer`; docs/releases.md explains the rules,
`python -m benchmarks.gate` and `python -m benchmarks.nights` show by simulation what they let through.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final, Literal

from pydantic import Field

from rjepa.evaluation.domains import ALL
from rjepa.evaluation.paired import PairedCounts, problems_to_show
from rjepa.evaluation.records import EvaluationRecord
from rjepa.releases.findings import LEVEL_BETTER, LOSS_OVERALL, Finding, Pair, Rule, compare
from rjepa.releases.night import NightFinding, NightTerms, find, is_protected
from rjepa.values import FrozenValue

Reason = Literal[
    "first_release",
    "already_current",
    "same_choice",
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
    "calibration_worse",
    "budget_spent",
    "taken_back",
]

Unmeasurable = Literal["other_student", "damaged"]

_WHY: Final[dict[Unmeasurable, str]] = {
    "other_student": "it was made for another student than this tag has now",
    "damaged": "its files are not what its manifest says, or an earlier version of R-JEPA made it",
}


class Decision(FrozenValue):
    """What the gate decided. `reason` is for machines, `text` for people, `findings` are the numbers behind both."""

    promote: bool
    rule: Rule
    claim: str = Field(description="where the challenger has to be better under `improve`: all, or a domain")
    reason: Reason
    text: str
    candidates: str | None = Field(None, description="hash of the candidates that both were judged on")
    findings: tuple[Finding, ...] = Field((), description="over all problems first, then by domain")
    night: NightFinding | None = Field(None, description="what rule `nightly` found beside them")

    def numbers(self) -> dict[str, float]:
        """The findings as flat numbers, for metadata."""
        values: dict[str, float] = {}
        for finding in self.findings:
            row = finding.model_dump(mode="json", exclude={"domain"})
            values |= {f"{finding.domain}_{name}": float(value) for name, value in row.items()}
        return values | ({} if self.night is None else self.night.numbers())


def decide(
    challenger: EvaluationRecord,
    current: EvaluationRecord | None,
    *,
    rule: Rule = "replace",
    claim: str = ALL,
    diagnostics_passed: bool = True,
    unmeasurable: Unmeasurable | None = None,
    terms: NightTerms | None = None,
    earlier: Sequence[Pair] = (),
) -> Decision:
    """Decide between a challenger and the current release by their records on the same candidates.

    Args:
        current: of the release that is served now; None where nothing is served that could be judged.
        rule: `replace` asks for not worse overall and in every domain; `improve` also for better where `claim` says;
            `nightly` for the same under the terms of a night.
        claim: "all" or the name of a domain. It has to be named before the numbers are seen.
        diagnostics_passed: whether the challenger's world model has learnt and not collapsed.
        unmeasurable: why the current release cannot be judged on the challenger's candidates. It cannot answer any more
            either, so that a person may replace it unmeasured; the night may not.
        terms: of the night; needed where rule `nightly` compares two records.
        earlier: of rule `nightly`: records of the same two on the sealed sets that they were tested on before.

    Raises:
        ValueError: rule `nightly` has no terms.
    """
    decision = partial(Decision, rule=rule, claim=claim)
    if not diagnostics_passed:
        return decision(promote=False, reason="diagnostics_failed", text="the world model's diagnostics failed")
    if unmeasurable is not None:
        text = f"the current release cannot be judged: {_WHY[unmeasurable]}"
        return decision(promote=rule == "replace", reason=unmeasurable, text=text)
    if current is None:
        return decision(promote=True, reason="first_release", text="there is no release to compare with")
    hashed = challenger.candidates.sha256
    if hashed != current.candidates.sha256 or challenger.problem_ids != current.problem_ids:
        text = "the two were judged on different candidates: judge both on the same"
        return decision(promote=False, reason="other_candidates", text=text)
    if rule == "nightly" and terms is None:
        raise ValueError("rule `nightly` needs the terms of its night: rjepa.living.evidence draws them")
    if terms is not None and terms.alpha == 0:
        return decision(promote=False, reason="budget_spent", text=_nothing_left(terms), candidates=hashed)
    findings = compare(challenger, current, rule, earlier)
    # The one domain of a data set is all of it.
    place = ALL if set(challenger.domains) == {claim} else claim
    claimed = next((finding for finding in findings if finding.domain == place), None)
    night = None
    if terms is not None and claimed is not None:
        night = find(challenger, current, findings, place, terms, earlier)
    reason, text = _judge(findings, rule, place, claimed, night)
    if night is not None:
        text = f"{text}; {night.describe()}"
    return decision(
        promote=reason in ("not_worse", "better"),
        reason=reason,
        text=text,
        candidates=hashed,
        findings=findings,
        night=night,
    )


def _judge(
    findings: tuple[Finding, ...], rule: Rule, place: str, claimed: Finding | None, night: NightFinding | None
) -> tuple[Reason, str]:
    """Reason and text: what is shown to be worse first, then what is undecided, then whether the claim holds."""
    # A loss that is shown, but smaller than the margin, is what a person may accept.
    worse = [finding for finding in findings if finding.is_worse and (rule != "replace" or not finding.not_worse)]
    if worse:
        return "worse", f"the challenger is worse: {_join(worse)}"
    held = [finding for finding in findings if night is None or is_protected(finding.domain, night.terms)]
    unclear = [finding for finding in held if not finding.not_worse]
    if unclear:
        return "too_few_problems", f"too few problems were judged to tell: {_needs(unclear)}"
    if rule == "replace":
        return "not_worse", f"the challenger is not worse: {_join(findings)}"
    if claimed is None:
        known = ", ".join(finding.domain for finding in findings)
        return "no_such_claim", f"the challenger claims to be better in {place}, and only {known} were judged"
    if night is not None:
        return _judge_night(findings, claimed, night)
    if claimed.p_better <= LEVEL_BETTER:
        return "better", f"the challenger is better, and worse nowhere: {_join(findings)}"
    wanted = problems_to_show(_discordance(claimed), LOSS_OVERALL, LEVEL_BETTER)
    return _not_better(claimed, wanted)


def _judge_night(findings: tuple[Finding, ...], claimed: Finding, night: NightFinding) -> tuple[Reason, str]:
    """What a month must not bring, then calibration, then the evidence."""
    open_bounds = [bound for bound in night.bounds if not bound.holds]
    if open_bounds:
        listed = ", ".join(f"{100 * bound.margin:.0f} points in {bound.domain}" for bound in open_bounds)
        return "too_few_problems", (
            f"too few problems were judged to exclude a loss of {listed} at this night's level: {_join(findings)}"
        )
    calibration = night.calibration
    if calibration is not None and not calibration.holds:
        return "calibration_worse", (
            f"P(correct) may be told worse: {calibration.describe()}; {calibration.margin:g} has to be excluded"
        )
    if night.is_better:
        return "better", f"the challenger is better, and worse nowhere: {_join(findings)}"
    return _not_better(claimed, problems_to_show(_discordance(claimed), LOSS_OVERALL, night.terms.alpha / 2))


def _not_better(claimed: Finding, wanted: int) -> tuple[Reason, str]:
    """Whether more problems might have shown a gain, or there is hardly one."""
    if claimed.problems < wanted and claimed.high > LOSS_OVERALL:
        text = (
            f"too few problems were judged to tell whether the challenger is better: {claimed.describe()}; "
            f"a gain of {100 * LOSS_OVERALL:.0f} points shows on about {wanted}"
        )
        return "too_few_problems", text
    return "not_better", f"the challenger is not shown to be better: {claimed.describe()}"


def _nothing_left(terms: NightTerms) -> str:
    return (
        f"nothing is left of the errors that {terms.nights} nights may make ({100 * terms.budget:g} %): as many "
        "challengers were tested as the budget has room for; wait until the oldest test is that long ago"
    )


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
