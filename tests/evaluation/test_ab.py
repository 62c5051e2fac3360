from collections.abc import Callable

import numpy as np
import pytest

from rjepa.errors import InvalidInputError
from rjepa.evaluation.ab import duel
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.evaluating import calibrate, evaluate
from rjepa.evaluation.pool import CandidatePool

Pools = Callable[..., CandidatePool]


def flat(pool: CandidatePool) -> list[np.ndarray]:
    return [energy for row in pool.energies for energy in row]


def test_the_better_world_model_wins_and_figures_are_those_of_its_leaderboard(pools: Pools) -> None:
    calibration = calibrate(pools(200, split="validation", seed=1))
    pool = pools(200, seed=2)
    rng = np.random.default_rng(0)
    noise = [rng.random(len(energy)) for energy in flat(pool)]
    found = duel(pool, (flat(pool), noise), (calibration, calibration), ("good", "noise"), resamples=300)
    board = evaluate(pool, calibration, resamples=50).leaderboard
    assert found.a.accuracy == {domain: board.row("rjepa_logprob_served", domain).accuracy for domain in board.domains}
    overall = found.served[0]
    assert overall.domain == ALL and overall.label == "good" and overall.against_label == "noise"
    assert overall.difference == pytest.approx(found.a.accuracy[ALL] - found.b.accuracy[ALL])
    assert [test.domain for test in found.served] == board.domains
    assert found.energy[0].difference > 0.1 and found.energy[0].ci_low > 0
    swapped = duel(pool, (noise, flat(pool)), (calibration, calibration), ("noise", "good"), resamples=300)
    assert swapped.served[0].difference == pytest.approx(-overall.difference)
    assert swapped.served[0].p_mcnemar == overall.p_mcnemar


def test_a_model_compared_with_itself_is_no_different(pools: Pools) -> None:
    calibration = calibrate(pools(100, split="validation", seed=1))
    pool = pools(60, seed=3)
    found = duel(pool, (flat(pool), flat(pool)), (calibration, calibration), ("x", "x"), resamples=50)
    for test in found.served:
        assert (test.difference, test.only_method, test.only_against, test.p_mcnemar) == (0.0, 0, 0, 1.0)


def test_without_gold_answers_there_is_nothing_to_compare(pools: Pools) -> None:
    pool = pools(3, 2)
    rows = [[c.model_copy(update={"is_correct": None}) for c in row] for row in pool.candidates]
    unjudged = CandidatePool(pool.problems, rows, pool.greedy, pool.energies)
    calibration = calibrate(pools(100, split="validation", seed=1))
    with pytest.raises(InvalidInputError, match="gold answer"):
        duel(unjudged, (flat(pool), flat(pool)), (calibration, calibration), ("x", "y"), resamples=10)
