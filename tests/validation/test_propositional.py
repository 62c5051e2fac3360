import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rjepa.schemas import Problem
from rjepa.validation.judge import judge
from rjepa.validation.propositional import (
    MAX_VARIABLES,
    Formula,
    FormulaError,
    counterexample,
    entails,
    equivalent,
    parse_formula,
    relation,
)


@pytest.mark.parametrize(
    ("premises", "conclusion", "expected"),
    [
        (["p -> q", "p"], "q", "entailed"),
        (["p -> q", "not q"], "not p", "entailed"),
        (["p → q", "q"], "p", "undetermined"),
        (["if rain then wet", "rain"], "not wet", "contradicted"),
        (["p or q", "¬p"], "q", "entailed"),
        (["p <-> q", "q <-> r"], "p iff r", "entailed"),
        (["p", "~p"], "q", "inconsistent_premises"),
        ([], "p or not p", "entailed"),
        ([], "p", "undetermined"),
        (["not (p and q)"], "not p or not q", "entailed"),
        (["p -> q -> r"], "(p and q) -> r", "entailed"),
        (["true"], "false", "contradicted"),
    ],
)
def test_a_conclusion_against_its_premises(premises: list[str], conclusion: str, expected: str) -> None:
    assert relation(premises, conclusion) == expected


def test_a_counterexample_makes_the_premises_true_and_the_conclusion_false() -> None:
    assert counterexample(["p or q"], "p") == {"p": False, "q": True}
    assert counterexample(["p"], "p or q") is None


def test_binding_and_signs() -> None:
    assert parse_formula("not p and q or r -> s") == parse_formula("((((~p) & q) | r) => s)")
    assert parse_formula("p implies q implies r") == parse_formula("p -> (q -> r)")


@pytest.mark.parametrize(
    "text",
    ["", "p q", "p and", "(p", "p)", "if p", "p + q", "and p", "p" * 3000, "(" * 500, "(" * 999 + "p" + ")" * 999],
)
def test_what_is_no_formula_is_refused_with_a_cure(text: str) -> None:
    with pytest.raises(FormulaError, match="->"):
        parse_formula(text)


def test_a_table_of_twelve_variables_is_quick_and_more_are_refused() -> None:
    names = [f"v{index}" for index in range(MAX_VARIABLES)]
    start = time.process_time()
    premises = [f"{a} -> {b}" for a, b in itertools.pairwise(names)]
    assert entails([*premises, names[0]], names[-1])
    assert time.process_time() - start < 0.5
    with pytest.raises(FormulaError, match="at most 12"):
        entails([*premises, "v11 -> v12"], "v0")


FORMULAE = st.recursive(
    st.sampled_from("pqrs").map(Formula),
    lambda inner: st.one_of(
        st.builds(lambda one: Formula("not", (one,)), inner),
        st.builds(
            lambda name, a, b: Formula(name, (a, b)), st.sampled_from(["and", "or", "implies", "iff"]), inner, inner
        ),
    ),
    max_leaves=8,
)


def by_hand(formula: Formula, row: dict[str, bool]) -> bool:
    if not formula.operands:
        return row[formula.name]
    sides = [by_hand(operand, row) for operand in formula.operands]
    return {
        "not": lambda: not sides[0],
        "and": lambda: all(sides),
        "or": lambda: any(sides),
        "implies": lambda: not sides[0] or sides[1],
        "iff": lambda: sides[0] == sides[1],
    }[formula.name]()


@given(FORMULAE, FORMULAE)
def test_entailment_is_what_a_table_written_out_says(premise: Formula, conclusion: Formula) -> None:
    rows = [dict(zip("pqrs", values, strict=True)) for values in itertools.product([False, True], repeat=4)]
    expected = all(by_hand(conclusion, row) for row in rows if by_hand(premise, row))
    assert entails([premise], conclusion) is expected
    found = counterexample([premise], conclusion)
    assert (found is None) is expected
    if found is not None:
        row = dict.fromkeys("pqrs", False) | found
        assert by_hand(premise, row) and not by_hand(conclusion, row)
    assert equivalent(premise, conclusion) is all(by_hand(premise, r) == by_hand(conclusion, r) for r in rows)


def logic_problem(gold: str | None, **meta: object) -> Problem:
    return Problem(
        problem_id="l",
        domain="logic",
        source="t",
        statement="-",
        answer_gold=gold,
        meta={"check": "propositional", "premises": ["p -> q", "q -> r", "p", "not t"], **meta},
    )


@pytest.mark.parametrize(
    ("gold", "conclusion", "answer", "reason"),
    [
        ("yes", "r", "Yes.", "ok"),
        (None, "r", "true", "ok"),
        ("yes", "r", "no", "wrong_answer"),
        ("no", "t", "no", "ok"),
        ("no", "s", "No", "ok"),
        ("unknown", "s", "no", "wrong_answer"),
        ("unknown", "s", "cannot be determined", "ok"),
        ("yes", "s", "yes", "broken_check"),
        ("yes", "r", "perhaps so", "answer_unparsable"),
        ("yes", "r and", "yes", "broken_check"),
        ("r", None, "r", "ok"),
        (None, None, "q and r", "ok"),
        ("r", None, "s", "not_entailed"),
        ("r", None, "r ((", "answer_unparsable"),
    ],
)
def test_the_judge_answers_by_truth_table(gold: str | None, conclusion: str | None, answer: str, reason: str) -> None:
    meta = {} if conclusion is None else {"conclusion": conclusion}
    assert judge(logic_problem(gold, **meta), ["q", "Therefore, r, by modus ponens."], answer).reason == reason


def test_the_first_step_that_does_not_follow_is_named() -> None:
    verdict = judge(logic_problem("yes", conclusion="r"), ["We look at the premises.", "So q.", "t", "p and t"], "yes")
    assert (verdict.reason, verdict.first_error_step, verdict.is_correct) == ("not_entailed", 2, True)
