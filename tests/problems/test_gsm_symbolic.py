from datetime import UTC, datetime

import pytest

from rjepa.problems.gsm_symbolic import generate_problems, training_texts
from rjepa.validation.judge import judged

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
COUNTS = {"train": 400, "validation": 60, "test": 60}


@pytest.fixture(scope="module")
def pairs() -> list:
    return generate_problems(COUNTS, 3, WHEN)


def test_every_split_has_what_was_asked_for(pairs: list) -> None:
    for split, count in COUNTS.items():
        assert sum(problem.split == split for problem, _ in pairs) == count


def test_a_problem_has_its_template_licence_and_worked_steps(pairs: list) -> None:
    for problem, chain in pairs:
        assert problem.subdomain == f"template-{problem.meta['template']:02d}"
        assert problem.licence == "Apache-2.0"
        assert "Give the result" not in problem.statement
        assert not problem.answer_gold.endswith(".0")
        assert chain.steps and all(step.strip() for step in chain.steps)
        assert "####" not in chain.final_answer
    assert len({problem.meta["template"] for problem, _ in pairs}) > 60


def test_the_same_seed_draws_the_same_problems(pairs: list) -> None:
    assert generate_problems(COUNTS, 3, WHEN) == pairs


def test_asking_for_more_keeps_what_was_there_with_its_splits(pairs: list) -> None:
    more = {problem.problem_id: problem for problem, _ in generate_problems({"train": 1500, "test": 60}, 3, WHEN)}
    for problem, _ in pairs:
        if problem.split == "train":
            assert more[problem.problem_id] == problem


def test_training_text_of_another_seed_never_meets_held_out_problems(pairs: list) -> None:
    held_out = {problem.statement for problem, _ in pairs if problem.split != "train"}
    texts = training_texts(500, 99)
    assert len(texts) == 500
    assert held_out.isdisjoint(statement for statement, _, _ in texts)


def test_wrong_worked_solutions_of_the_source_are_found_and_kept(pairs: list) -> None:
    verdicts = [(problem, judged(problem, chain)) for problem, chain in pairs]
    wrong = [(problem, chain) for problem, chain in verdicts if not chain.is_valid]
    assert 0 < len(wrong) < 0.05 * len(pairs)
    assert {chain.validation_reason for _, chain in wrong} == {"wrong_arithmetic"}
    assert {problem.meta["template"] for problem, _ in wrong} <= {3, 4, 49, 60, 75, 99}  # they divide or halve unevenly


def test_asking_for_nothing_draws_nothing() -> None:
    assert generate_problems({"train": 0}, 1) == []
