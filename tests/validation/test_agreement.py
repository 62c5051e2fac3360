import pytest

from rjepa.validation import maths
from rjepa.validation.agreement import agree


@pytest.mark.parametrize(
    ("answers", "reason", "answer", "share"),
    [
        (["12", "12.0", " 12"], "unanimous", "12", 1.0),
        (["12", "13", "12"], "majority", "12", 2 / 3),
        (["12", "13", "12", None], "majority", "12", 0.5),
        (["12", "13"], "tie", None, 0.5),
        (["12", "13", "14"], "tie", None, 1 / 3),
        (["12", "12", "13", "14", "15"], "below_threshold", None, 0.4),
        (["12", None, ""], "too_few_answers", None, 0.0),
        ([], "too_few_answers", None, 0.0),
        ([None, None], "too_few_answers", None, 0.0),
    ],
)
def test_what_several_answers_come_to(answers: list[str | None], reason: str, answer: str | None, share: float) -> None:
    found = agree(answers)
    assert (found.reason, found.answer) == (reason, answer)
    assert found.share == pytest.approx(share)
    assert found.accepted is (answer is not None)


def test_a_tie_breaker_is_asked_only_where_answers_do_not_settle_it() -> None:
    asked: list[list[str]] = []

    def judge(leading: list[str]) -> str:
        asked.append(leading)
        return "13"

    assert agree(["12", "12", "13"], tie_breaker=judge).answer == "12"
    assert asked == []
    found = agree(["12", "13"], tie_breaker=judge)
    assert (found.reason, found.answer, asked) == ("tie_broken", "13", [["12", "13"]])


def test_a_tie_breaker_cannot_bring_an_answer_of_its_own() -> None:
    assert agree(["12", "13"], tie_breaker=lambda leading: "14").reason == "tie"
    assert agree(["12", "13"], tie_breaker=lambda leading: None).answer is None


def test_formulas_agree_by_equivalence_where_asked_for() -> None:
    answers = ["2(x+1)", "2x + 2", "3x"]
    assert agree(answers).reason == "tie"
    assert agree(answers, same=lambda first, second: maths.compare(first, second).equal).answer == "2(x+1)"


@pytest.mark.parametrize(("threshold", "minimum"), [(0.0, 2), (1.5, 2), (0.5, 0)])
def test_a_threshold_outside_its_range_is_refused(threshold: float, minimum: int) -> None:
    with pytest.raises(ValueError, match="threshold must be"):
        agree(["1"], threshold=threshold, minimum=minimum)
