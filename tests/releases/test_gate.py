import numpy as np
import pytest

from rjepa.evaluation.paired import PairedCounts, problems_to_show
from rjepa.evaluation.records import EvaluationRecord
from rjepa.releases.findings import Rule
from rjepa.releases.gate import Decision, decide
from tests.records import make_record, outcomes

DOMAINS = ("code", "logic", "math")


def record(*right: list[bool], candidates: str = "c" * 64) -> EvaluationRecord:
    """One list of outcomes a domain."""
    domains = [name for name, part in zip(DOMAINS, right, strict=False) for _ in part]
    return make_record("a" * 64, [value for part in right for value in part], domains=domains, candidates=candidates)


def shares(*accuracies: float, problems: int = 400) -> EvaluationRecord:
    return record(*(outcomes(problems, accuracy) for accuracy in accuracies))


def gate(
    challenger: EvaluationRecord, current: EvaluationRecord, rule: Rule = "replace", claim: str = "all"
) -> Decision:
    return decide(challenger, current, rule=rule, claim=claim)


def test_the_first_release_is_promoted_however_low_its_accuracy() -> None:
    decision = decide(shares(0.01), None)
    assert decision.promote and decision.reason == "first_release"


def test_nothing_is_promoted_when_the_diagnostics_fail() -> None:
    assert not decide(shares(0.9), None, diagnostics_passed=False).promote
    assert decide(shares(0.9), shares(0.1), diagnostics_passed=False).reason == "diagnostics_failed"


def test_records_of_different_candidates_are_not_compared() -> None:
    other = record(outcomes(400, 0.1), candidates="e" * 64)
    assert gate(shares(0.9), other).reason == "other_candidates"


def test_an_equal_challenger_replaces_and_does_not_improve() -> None:
    assert gate(shares(0.5, 0.5, 0.5), shares(0.5, 0.5, 0.5)).reason == "not_worse"
    night = gate(shares(0.5, 0.5, 0.5), shares(0.5, 0.5, 0.5), "improve")
    assert not night.promote and night.reason == "not_better"


def test_a_better_challenger_improves_and_says_by_how_much() -> None:
    night = gate(shares(0.55, 0.55, 0.55), shares(0.5, 0.5, 0.5), "improve")
    assert night.promote and night.reason == "better" and "+5.0 points" in night.text
    assert night.numbers()["all_difference"] == pytest.approx(0.05)
    assert night.numbers()["math_only_challenger"] == 20


@pytest.mark.parametrize("rule", ["replace", "improve"])
def test_a_loss_in_one_domain_is_not_paid_for_by_gains_in_others(rule: Rule) -> None:
    decision = gate(shares(0.7, 0.7, 0.4), shares(0.5, 0.5, 0.5), rule)
    assert decision.reason == "worse" and "math" in decision.text and "code" not in decision.text


def test_a_person_may_accept_a_small_loss_that_the_night_may_not() -> None:
    challenger, current = shares(0.5, 0.5, 0.48), shares(0.5, 0.5, 0.5)
    assert gate(challenger, current).promote
    assert gate(challenger, current, "improve").reason == "worse"


def test_the_night_is_held_to_the_domain_that_it_names() -> None:
    challenger, current = shares(0.5, 0.5, 0.56), shares(0.5, 0.5, 0.5)
    assert gate(challenger, current, "improve", "math").reason == "better"
    assert gate(challenger, current, "improve", "code").reason == "not_better"
    assert gate(challenger, current, "improve", "poetry").reason == "no_such_claim"


def test_the_only_domain_is_all_of_it() -> None:
    decision = decide(shares(0.6), shares(0.5), rule="improve", claim="code")
    assert decision.reason == "better" and [finding.domain for finding in decision.findings] == ["all"]


def test_where_too_few_problems_were_judged_the_gate_refuses_and_says_how_many_it_needs() -> None:
    rng = np.random.default_rng(0)
    current = [bool(value) for value in rng.random(60) < 0.5]
    challenger = [value if number % 10 else not value for number, value in enumerate(current)]
    decision = gate(record(challenger), record(current))
    assert not decision.promote and decision.reason == "too_few_problems"
    needed = decision.findings[0].problems_needed
    assert needed > 60 and f"needs about {needed} problems" in decision.text


def test_two_that_never_differ_are_not_worse_only_once_there_are_enough_problems() -> None:
    """A bootstrap of no difference has no width, and would promote on one problem."""
    assert gate(shares(0.5, problems=40), shares(0.5, problems=40)).reason == "too_few_problems"
    assert gate(shares(0.5, problems=300), shares(0.5, problems=300)).promote


def test_the_interval_of_a_paired_difference_is_tango_s() -> None:
    """Published: Tango (1998), Newcombe (1998): 12 and 2 of 50 problems differ, 0.0611 to 0.3447."""
    low, high = PairedCounts(50, 12, 2).interval()
    assert (round(float(low), 4), round(float(high), 4)) == (0.0611, 0.3447)


def test_the_problems_that_are_needed_are_enough() -> None:
    needed = problems_to_show(0.08, 0.03, 0.005)
    rng = np.random.default_rng(1)
    counts = rng.multinomial(needed, [0.04, 0.04, 0.92], size=2000)
    passed = PairedCounts(needed, counts[:, 0], counts[:, 1]).lower_bound(0.005) > -0.03
    assert 0.86 < passed.mean() < 0.94
