"""The step checker finds the first wrong step of a chain and says why it is wrong."""

import pytest

from rjepa.problems.curriculum.logic import Rule, RuleSet
from rjepa.problems.curriculum.program import Line, Program
from rjepa.schemas import Problem
from rjepa.validation.curriculum import check_chain

# Tom has 14. Mia has 5 more than Tom. Leo has 2 times as many as Mia. Ann has as many as Leo and Tom together.
PROGRAM = Program(
    (
        Line("const", (("num", 14),)),
        Line("add", (("ref", 0), ("num", 5))),
        Line("mul", (("ref", 1), ("num", 2))),
        Line("add", (("ref", 2), ("ref", 0))),
    ),
    ("Tom", "Mia", "Leo", "Ann"),
    3,
)
MATH = Problem(
    problem_id="m",
    domain="math",
    source="curriculum",
    statement="-",
    answer_gold="52",
    meta={"spec": PROGRAM.to_json()},
)
GOLD = [
    "Mia has 5 more than Tom: 14 + 5 = 19",
    "Leo has 2 times as many as Mia: 19 * 2 = 38",
    "Ann has as many as Leo and Tom together: 38 + 14 = 52",
]
RULES = RuleSet(
    "Rex",
    "wug",
    {"red": True, "big": False},
    (
        Rule("wug", (("red", True),), "dax"),
        Rule("wug", (("red", False),), "zup"),
        Rule("dax", (("big", False),), "fep"),
    ),
)
LOGIC = Problem(
    problem_id="l",
    domain="logic",
    source="curriculum",
    statement="-",
    answer_gold="fep",
    meta={"spec": RULES.to_json()},
)
PATH = ["Every wug is a dax if red, so Rex is a dax", "Every dax is a fep if not big, so Rex is a fep"]


@pytest.mark.parametrize(
    ("steps", "answer", "reason", "first_error"),
    [
        (GOLD, "52", "ok", None),
        ([GOLD[0], GOLD[1], "Ann has as many as Leo and Tom together: 14 + 38 = 52"], "52", "ok", None),
        (
            ["Mia has 5 more than Tom: 14 + 5 = 18", "Leo has 2 times as many as Mia: 18 * 2 = 36"],
            "50",
            "wrong_arithmetic",
            0,
        ),
        ([GOLD[0], "Leo has 2 times as many as Mia: 14 * 2 = 28"], "42", "wrong_operand", 1),
        ([GOLD[0], "Leo has 2 times as many as Mia: 19 + 2 = 21"], "35", "wrong_operation", 1),
        ([GOLD[0], GOLD[1], "Ann has as many as Leo and Tom together: 14 - 38 = -24"], "-24", "wrong_operation", 2),
        (["Leo has 2 times as many as Mia: 19 * 2 = 38"], "52", "missing_premise", 0),
        ([GOLD[0], GOLD[0]], "52", "repeated_step", 1),
        (["Zoe has 5 more than Tom: 14 + 5 = 19"], "52", "unknown_name", 0),
        ([GOLD[0], "Leo has about 38"], "52", "unreadable_step", 1),
        (["Mia has 6 more than Tom: 14 + 6 = 20"], "52", "misread_statement", 0),
        (GOLD, "53", "wrong_answer", 3),
        (GOLD, None, "no_answer", 3),
        (GOLD[:2], "52", "missing_step", 2),
        ([], "52", "no_steps", 0),
    ],
)
def test_math_chain(steps: list[str], answer: str | None, reason: str, first_error: int | None) -> None:
    verdict = check_chain(MATH, steps, answer)
    assert (verdict.reason, verdict.first_error_step) == (reason, first_error)
    assert verdict.is_valid is (reason == "ok")
    assert verdict.is_correct is (answer == "52")


@pytest.mark.parametrize(
    ("steps", "answer", "reason", "first_error"),
    [
        (PATH, "fep", "ok", None),
        (["Every wug is a zup if not red, so Rex is a zup"], "zup", "wrong_condition", 0),
        (["Every wug is a dax, so Rex is a dax"], "fep", "no_such_rule", 0),
        (["Every wug is a fep if red, so Rex is a fep"], "fep", "no_such_rule", 0),
        ([PATH[1]], "fep", "wrong_premise", 0),
        (["Every wug is a dax if red, so Tom is a dax"], "fep", "unreadable_step", 0),
        (PATH[:1], "fep", "missing_step", 1),
        (PATH, "dax", "wrong_answer", 2),
    ],
)
def test_logic_chain(steps: list[str], answer: str, reason: str, first_error: int | None) -> None:
    verdict = check_chain(LOGIC, steps, answer)
    assert (verdict.reason, verdict.first_error_step) == (reason, first_error)


def test_a_reassigned_variable_is_followed_by_value_and_not_by_name() -> None:
    # a = 3; b = a + 4; a = b * 2; b = a + 4; print(b)
    program = Program(
        (
            Line("const", (("num", 3),)),
            Line("add", (("ref", 0), ("num", 4))),
            Line("mul", (("ref", 1), ("num", 2))),
            Line("add", (("ref", 2), ("num", 4))),
        ),
        ("a", "b", "a", "b"),
        3,
    )
    problem = MATH.model_copy(update={"domain": "code", "answer_gold": "18", "meta": {"spec": program.to_json()}})
    assert check_chain(
        problem, ["b = a + 4 = 3 + 4 = 7", "a = b * 2 = 7 * 2 = 14", "b = a + 4 = 14 + 4 = 18"], "18"
    ).is_valid
    stale = check_chain(problem, ["b = a + 4 = 3 + 4 = 7", "a = b * 2 = 7 * 2 = 14", "b = a + 4 = 3 + 4 = 7"], "7")
    assert stale.first_error_step == 2


def test_a_huge_number_is_unreadable_and_quick() -> None:
    verdict = check_chain(MATH, [f"Mia has 5 more than Tom: 14 + 5 = {'9' * 100_000}"], "52")
    assert verdict.reason == "unreadable_step"
