"""The curriculum makes problems that are solvable, varied, and split by structure."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rjepa.problems.curriculum import CURRICULUM_DOMAINS, corrupt, generate_problems
from rjepa.problems.curriculum.generate import sample_problem, split_of
from rjepa.schemas import Problem
from rjepa.validation.curriculum import check_chain

DOMAINS = pytest.mark.parametrize("domain", CURRICULUM_DOMAINS)


def _run(statement: str) -> str:
    """Execute a tracing problem with Python itself: its text is a program. Only our own generator's text gets here."""
    printed: list[str] = []
    exec(statement, {"__builtins__": {"max": max, "min": min, "print": lambda value: printed.append(str(value))}})
    return printed[0]


@DOMAINS
def test_the_same_seed_makes_the_same_problems_and_another_seed_others(domain: str) -> None:
    statements = [[p.statement for p, _ in generate_problems("test", 30, seed, domain)] for seed in (1, 1, 2)]
    assert statements[0] == statements[1]
    assert statements[0] != statements[2]


@DOMAINS
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), difficulty=st.sampled_from(["easy", "medium", "hard"]))
def test_every_gold_chain_is_right_and_has_three_to_eight_steps(domain: str, seed: int, difficulty: str) -> None:
    problem, chain = sample_problem(random.Random(seed), domain, difficulty)
    verdict = check_chain(problem, chain.steps, chain.final_answer)
    assert verdict.reason == "ok" and verdict.is_valid
    assert 3 <= len(chain.steps) <= 8


def test_a_traced_program_prints_its_gold_answer() -> None:
    for problem, _ in generate_problems("train", 200, 5, "code"):
        assert _run(problem.statement) == problem.answer_gold


def test_code_problems_overwrite_variables() -> None:
    problems = [problem for problem, _ in generate_problems("train", 100, 5, "code")]
    reused = [p for p in problems if len(set(p.meta["spec"]["names"])) < len(p.meta["spec"]["names"])]
    assert 20 <= len(reused) <= 95


@DOMAINS
def test_no_structure_is_in_two_splits(domain: str) -> None:
    structures = {
        split: {p.meta["structure"] for p, _ in generate_problems(split, 300, 3, domain)}
        for split in ("train", "validation", "test")
    }
    assert not structures["train"] & structures["test"]
    assert not structures["train"] & structures["validation"]
    assert not structures["validation"] & structures["test"]
    assert all(split_of(structure) == "test" for structure in structures["test"])


def test_names_and_numbers_do_not_change_the_structure() -> None:
    problem, _ = sample_problem(random.Random(1), "math", "easy")
    assert not any(name in problem.meta["structure"] for name in problem.meta["spec"]["names"])


@DOMAINS
def test_difficulty_makes_chains_longer(domain: str) -> None:
    rng = random.Random(0)
    lengths = [
        sum(len(sample_problem(rng, domain, level)[1].steps) for _ in range(50)) for level in ("easy", "medium", "hard")
    ]
    assert lengths[0] < lengths[1] < lengths[2]


@DOMAINS
def test_some_problems_hold_lines_that_the_answer_does_not_need(domain: str) -> None:
    pairs = generate_problems("train", 60, 4, domain)
    extra = [
        p for p, chain in pairs if len(p.meta["spec"].get("lines", p.meta["spec"].get("rules"))) > len(chain.steps)
    ]
    assert len(extra) > 30


@DOMAINS
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_a_corrupted_chain_keeps_its_prefix_and_is_wrong_exactly_where_it_says(domain: str, seed: int) -> None:
    rng = random.Random(seed)
    problem, chain = sample_problem(rng, domain, rng.choice(["easy", "medium", "hard"]))
    wrong = corrupt(problem, chain, rng)
    place = wrong.meta["corrupted_step"]
    verdict = check_chain(problem, wrong.steps, wrong.final_answer)
    assert wrong.steps[:place] == chain.steps[:place]
    assert not verdict.is_valid
    assert verdict.first_error_step == place


def test_a_corruption_that_does_not_fit_is_refused() -> None:
    rng = random.Random(0)
    problem, chain = sample_problem(rng, "logic", "easy")
    with pytest.raises(ValueError, match="wrong_rule"):
        corrupt(problem, chain, rng, "wrong_arithmetic")
    foreign = Problem(problem_id="x", domain="math", source="import:x", statement="1 + 1?")
    with pytest.raises(ValueError, match="not from the curriculum"):
        corrupt(foreign, chain, rng)
