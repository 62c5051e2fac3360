from collections.abc import Callable

import numpy as np
import pytest

from rjepa.evaluation.pool import CandidatePool
from rjepa.schemas import Candidate
from tests.evaluation.conftest import FakeRollouts


def test_a_pool_is_joined_from_rollouts_and_energies_problem_by_problem(pools: Callable[..., CandidatePool]) -> None:
    made = pools(5, 3)
    rollouts = FakeRollouts(list(made.problems), [list(row) for row in made.candidates], list(made.greedy))
    flat = [energy for row in made.energies for energy in row]
    pool = CandidatePool.from_rollouts(rollouts, flat)
    assert (len(pool), pool.num_candidates) == (5, 3)
    assert pool.features["energy_max"][4, 2] == pytest.approx(flat[14].max())
    with pytest.raises(ValueError, match="15 candidates but energies of 14"):
        CandidatePool.from_rollouts(rollouts, flat[:-1])


def test_splits_and_selections_keep_a_problem_with_its_candidates(pools: Callable[..., CandidatePool]) -> None:
    test, validation = pools(4, split="test"), pools(3, split="validation")
    both = CandidatePool(
        [*test.problems, *validation.problems],
        [*test.candidates, *validation.candidates],
        [*test.greedy, *validation.greedy],
        [*test.energies, *validation.energies],
    )
    assert [problem.problem_id for problem in both.split("validation").problems] == [
        f"validation-{i}" for i in range(3)
    ]
    np.testing.assert_array_equal(both.split("test").correct, test.correct)
    np.testing.assert_array_equal(both.select([6, 0]).ids, both.ids[[6, 0]])
    assert len(both.split("train")) == 0


def test_problems_without_a_verdict_are_set_apart(
    pools: Callable[..., CandidatePool], candidate: Callable[..., Candidate]
) -> None:
    pool = pools(3, 2)
    rows = [list(row) for row in pool.candidates]
    rows[1][0] = candidate(pool.problems[1].problem_id, 0, "7", None)
    judged = CandidatePool(pool.problems, rows, pool.greedy, pool.energies).judged()
    assert [problem.problem_id for problem in judged.problems] == ["test-0", "test-2"]


def test_lists_that_do_not_fit_together_are_refused(pools: Callable[..., CandidatePool]) -> None:
    pool = pools(3, 2)
    with pytest.raises(ValueError, match="3 problems, but candidates of 2"):
        CandidatePool(pool.problems, pool.candidates[:2], pool.greedy, pool.energies)
    with pytest.raises(ValueError, match="same number of candidates"):
        CandidatePool(pool.problems, [pool.candidates[0][:1], *pool.candidates[1:]], pool.greedy, pool.energies)
    with pytest.raises(ValueError, match="given for problem"):
        CandidatePool(pool.problems, pool.candidates[::-1], pool.greedy, pool.energies)
