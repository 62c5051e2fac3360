import pytest

from rjepa.releases.gate import Figures, decide


def figures(accuracy: float, *, passed: bool = True, dataset: str = "v1.0.0") -> Figures:
    return Figures(dataset=dataset, num_problems=1000, accuracy=accuracy, diagnostics_passed=passed)


def test_the_first_release_is_promoted_however_low_its_accuracy() -> None:
    assert decide(figures(0.01), None).reason == "first_release"
    assert decide(figures(0.01), None).promote


def test_nothing_is_promoted_when_the_diagnostics_fail() -> None:
    assert not decide(figures(0.9, passed=False), None).promote
    assert decide(figures(0.9, passed=False), figures(0.1)).reason == "diagnostics_failed"


@pytest.mark.parametrize(("candidate", "promoted"), [(0.60, True), (0.50, True), (0.485, True), (0.47, False)])
def test_a_later_release_is_promoted_unless_it_is_worse_by_more_than_the_margin(
    candidate: float, promoted: bool
) -> None:
    decision = decide(figures(candidate), figures(0.5), margin=0.02)
    assert decision.promote is promoted
    assert decision.numbers["difference"] == pytest.approx(candidate - 0.5)


def test_figures_of_different_datasets_are_not_compared() -> None:
    assert decide(figures(0.9, dataset="v1.1.0"), figures(0.1)).reason == "not_comparable"
