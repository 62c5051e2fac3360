import time

import pytest

from rjepa.schemas import Problem
from rjepa.validation.judge import judge
from rjepa.validation.multiple_choice import check_choice, read_choice

CITIES = ["Rome", "Paris", "A dog", "12", "New York"]


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("[B]", "B"),
        ("B.", "B"),
        ("B)", "B"),
        ("**B**", "B"),
        (r"\boxed{B}", "B"),
        (r"$\text{(B)}$", "B"),
        ("The answer is B", "B"),
        ("the correct answer is (B).", "B"),
        ("So the answer is: B", "B"),
        ("Answer: B", "B"),
        ("Option B", "B"),
        ("B. Paris", "B"),
        ("B: paris", "B"),
        ("(B) Paris", "B"),
        ("B Paris", "B"),
        ("B) because the Seine runs through it", "B"),
        (": B", "B"),
        ("A. Rome B. Paris, so (B)", None),
        ("Paris", "B"),
        ("the answer is paris.", "B"),
        ("A dog", "C"),
        ("12.0", "D"),
        ("E", "E"),
        ("F", None),
        ("B or C", None),
        ("A, B", None),
        ("B. Rome", None),
        ("London", None),
        ("A cat", None),
        ("", None),
        ("I do not know", None),
    ],
)
def test_an_option_is_read_in_its_usual_spellings(answer: str, letter: str | None) -> None:
    assert read_choice(answer, CITIES) == letter


def test_a_label_comes_before_a_text_that_is_a_letter() -> None:
    assert read_choice("B", ["C", "A", "B"]) == "B"


def test_the_gold_answer_is_a_letter_or_a_text() -> None:
    assert check_choice("B", CITIES, "Paris") == check_choice("Paris", CITIES, "(B)") == "ok"
    assert check_choice("B", CITIES, "C") == "wrong_choice"
    assert check_choice("B", CITIES, "perhaps") == "unreadable_choice"
    assert check_choice("Z", CITIES, "B") == "broken_gold"


@pytest.mark.parametrize("piece", ["B", "(", "(B) ", "the answer is ", "\\boxed{", " "])
def test_a_hostile_answer_is_read_at_once(piece: str) -> None:
    start = time.perf_counter()
    read_choice(piece * 300, CITIES)
    read_choice(piece * 100_000, CITIES)
    assert time.perf_counter() - start < 1


def test_the_judge_reads_choices_from_meta() -> None:
    meta = {"check": "multiple_choice", "choices": CITIES}
    problem = Problem(problem_id="p", domain="knowledge", source="t", statement="-", answer_gold="B", meta=meta)
    assert judge(problem, ["It is on the Seine."], "(B) Paris").is_valid
    assert judge(problem, ["It is on the Tiber."], "A").reason == "wrong_choice"
    assert judge(problem.model_copy(update={"meta": {"check": "multiple_choice"}}), ["-"], "A").reason == "broken_check"
