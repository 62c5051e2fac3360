"""Which answers are equivalent, and what hostile ones come to."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rjepa.schemas import Problem
from rjepa.validation import maths
from rjepa.validation.judge import judge
from rjepa.validation.maths import MathsPool
from rjepa.validation.pool import Bounds


@pytest.fixture(scope="module")
def pool() -> Iterator[MathsPool]:
    with MathsPool(1, Bounds(cpu_seconds=2.0, wall_seconds=30.0)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("1/2", r"\frac{2}{4}"),
        (r"\frac{3}{4}", "0.75"),
        ("3/4", r"$\boxed{\dfrac34}$"),
        ("3/2", r"1\frac12"),
        ("-7", "−٧"),
        ("12", "\uff11\uff12"),
        ("1234.5", "1.234,5"),
        ("1234567", "1 234 567"),
        ("14{,}916", "14916"),
        ("20", r"20\%"),
        ("28%", "28 pct"),
        ("15", r"15\mbox{ cm}^2"),
        (r"125\text{ miles}", "125 miles"),
        (r"90^\circ", "90 degrees"),
        (r"\$5", "5 dollars"),
        (r"\text{Evelyn}", "evelyn"),
        ("[0,1)", r"\left[0, 1\right)"),
        (r"(-\infty, 3]", "(−∞, 3]"),
        (r"[0,1) \cup (2,3]", "[0,1) ∪ (2,3]"),
        (r"\{1,2\}", "{2, 1}"),
        ("-2,1", "1,-2"),
        ("x=5", "5"),
        ("5", "x = 5"),
        ("(x+1)^2", "x^2+2x+1"),
        (r"2\sqrt{3}", "√12"),
        ("π/2", r"\frac{\pi}{2}"),
        ("1<x<2", "(1,2)"),
        ("10", "2*5"),
        ("2^{100}", "1267650600228229401496703205376"),
    ],
)
def test_equivalent_answers(pool: MathsPool, gold: str, answer: str) -> None:
    assert pool.compare(gold, answer).reason == "equal"


@pytest.mark.parametrize(
    ("gold", "answer", "reason"),
    [
        ("[0,1)", "(0,1)", "different"),
        (r"\{1,2\}", "{1, 2, 3}", "different"),
        ("(3,4)", "(4,3)", "different"),
        ("12", "12 or 13", "different"),
        ("13", "the answer is not 13", "different"),
        ("1/3", "0.33", "different"),
        ("12 apples", "12 pears", "different"),
        (r"\text{Evelyn}", "Briana", "different"),
        ("x+1", "y+1", "different"),
        ("(1,2)", "1<x<2", "different"),
        ("5", "", "different"),
        ("2x", r"\frac{2x", "unparsable"),
        ("2x", "}}{{\\frac\\", "unparsable"),
        ("2x", r"\begin{matrix} 1 &", "unparsable"),
    ],
)
def test_answers_that_do_not_count(pool: MathsPool, gold: str, answer: str, reason: str) -> None:
    assert pool.compare(gold, answer).reason == reason


@pytest.mark.parametrize("answer", ["9**9**9**9", "9^{9^{9^{9}}}", "1000000000!"])
def test_an_answer_that_cannot_be_computed_is_given_up(pool: MathsPool, answer: str) -> None:
    assert pool.compare("9", answer).reason in ("timeout", "too_large")
    assert pool.compare("2x", "x+x").equal


@pytest.mark.parametrize("piece", ["9", "x+", "\\frac{", "(", "{1,"])
def test_a_hundred_thousand_characters_are_not_parsed(piece: str) -> None:
    start = time.process_time()
    assert maths.compare("2x", (piece * 100_000)[:100_000]).reason == "too_large"
    assert time.process_time() - start < 2


def test_an_answer_is_never_run_as_code(pool: MathsPool, tmp_path: Path) -> None:
    target = tmp_path / "ran"
    for answer in (
        f"__import__('os').system('touch {target}')",
        f"$__import__('os').system('touch {target}')$",
        rf"\boxed{{open('{target}','w')}}",
        f"(lambda: open('{target}', 'w'))()",
    ):
        assert not pool.compare("2x", answer).equal
    assert not target.exists()


def test_many_answers_come_back_in_order(pool: MathsPool) -> None:
    pairs = [("7", "7"), ("2x", "x + x"), ("7", "8"), ("2x", "3x")]
    assert [found.equal for found in pool.compare_all(pairs)] == [True, True, False, False]


def test_a_math_problem_is_judged_by_formula_and_its_steps_by_their_equations() -> None:
    problem = Problem(problem_id="p", domain="math", source="test", statement="-", answer_gold=r"2\sqrt{3}")
    assert judge(problem, ["The root of 12."], r"\sqrt{12}").is_valid
    assert judge(problem, ["The root of 12."], r"\sqrt{13}").reason == "wrong_answer"
    assert judge(problem, ["The root of 12."], r"\sqrt{").reason == "answer_unparsable"
    wrong = judge(problem, ["4 * 3 = 12", "2 + 2 = 5"], r"\sqrt{12}")
    assert (wrong.reason, wrong.first_error_step, wrong.is_correct) == ("wrong_arithmetic", 1, True)
