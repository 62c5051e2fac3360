"""Pools of synthetic candidates: real schemas, made-up numbers, a known truth."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from rjepa.evaluation.pool import CandidatePool
from rjepa.schemas import Candidate, Problem, Split


@dataclass(frozen=True)
class FakeRollouts:
    """The three attributes of rollouts that a pool reads."""

    problems: list[Problem]
    candidates: list[list[Candidate]]
    greedy: list[Candidate]


def make_candidate(
    problem_id: str, index: int, answer: str | None, correct: bool | None, **fields: object
) -> Candidate:
    """One candidate with three tokens and one step unless said otherwise."""
    values: dict[str, object] = {
        "text": "",
        "steps": ["a step"],
        "finished": True,
        "token_logprobs": [-0.1, -0.2, -0.3],
        "is_valid": correct,
        "first_error_step": None if correct else 0,
    }
    return Candidate(
        problem_id=problem_id, sample_index=index, final_answer=answer, is_correct=correct, **{**values, **fields}
    )


def make_pool(
    problems: int,
    candidates: int = 8,
    *,
    seed: int = 0,
    split: Split = "test",
    signal: float = 1.0,
    statement: str = "How many?",
) -> CandidatePool:
    """Candidates whose energies are higher from the first wrong step on, by `signal` standard deviations."""
    rng = np.random.default_rng(seed)
    rows: list[list[Candidate]] = []
    energies: list[list[np.ndarray]] = []
    greedy, listed = [], []
    for number in range(problems):
        name, domain = f"{split}-{number}", ("math", "code", "logic")[number % 3]
        chance = rng.beta(1.5, 1.5)
        row, energy = [], []
        for index in range(candidates):
            right = bool(rng.random() < chance)
            steps = int(rng.integers(3, 7))
            first_error = None if right else int(rng.integers(0, steps + 1))
            values = rng.normal(1.0, 0.3, size=steps + 1)
            if first_error is not None:
                values[first_error:] += 0.3 * signal
            tokens = rng.normal(-0.3, 0.2, size=int(rng.integers(20, 40))) - (0.0 if right else 0.03)
            answer = "7" if right else str(rng.integers(8, 14)) if rng.random() < 0.95 else None
            row.append(
                make_candidate(
                    name,
                    index,
                    answer,
                    right,
                    steps=[f"step {i}" for i in range(steps)],
                    token_logprobs=np.minimum(tokens, 0.0).tolist(),
                    first_error_step=first_error,
                    self_certainty=float(rng.normal()),
                )
            )
            energy.append(values.astype(np.float32))
        rows.append(row)
        energies.append(energy)
        right = bool(rng.random() < chance)
        greedy.append(make_candidate(name, -1, "7" if right else "9", right))
        listed.append(
            Problem(problem_id=name, domain=domain, source="test", statement=statement, answer_gold="7", split=split)
        )
    return CandidatePool(listed, rows, greedy, energies)


@pytest.fixture(scope="session")
def pools() -> Callable[..., CandidatePool]:
    return make_pool


@pytest.fixture
def candidate() -> Callable[..., Candidate]:
    return make_candidate
