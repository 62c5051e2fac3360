"""Betting: a fair game under the hypothesis, evidence against it elsewhere, and the figures of libraries not ours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from ville import BettingTest

from rjepa.evaluation.betting import BETS, LOG_CAP, log_evidence, log_wealth, log_wealth_path

LEVEL = 0.05 / 30
COIN = "100110100111111100101111111011111111110110101011101111110101"
RATE = "00000000100011000000010011000000101000010001000000000000100101000100000000110100"


def outcomes(text: str) -> np.ndarray:
    return np.array([letter == "1" for letter in text])


def game(differing: int) -> tuple[np.ndarray, np.ndarray]:
    """Every number of wins among so many fair coins, and its chance."""
    wins = np.arange(differing + 1)
    return wins, binom.pmf(wins, differing, 0.5)


@pytest.mark.parametrize(("text", "chance"), [(COIN, 0.5), (RATE, 0.1)])
def test_the_stake_is_that_of_the_library_ville_after_every_outcome(text: str, chance: float) -> None:
    # With a vanishing alpha its plug-in bet is above the cap `c` at once, and so the constant bet of that share.
    paths = []
    for share in BETS:
        tests = BettingTest(chance, alternative="greater", alpha=1e-300, c=share)
        paths.append(tests.fit(outcomes(text).astype(float)).log_e_values_)
    expected = np.logaddexp.reduce(np.array(paths), axis=0) - np.log(len(BETS))
    np.testing.assert_allclose(log_wealth_path(outcomes(text), chance), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "chance", "expected"),
    [
        (COIN, 0.5, [-0.3882441956, 0.2056414077, 4.2529080525, 5.8020899738]),
        (RATE, 0.1, [-1.1359450537, -0.8204104299, 1.8268514397, 1.5842728264]),
    ],
)
def test_the_stake_is_that_of_the_reference_library_confseq(text: str, chance: float, expected: list[float]) -> None:
    """Made by confseq 0.0.11, which builds C++ and so is no dependency: the mean over `BETS` of `betting_mart(x,
    chance, lambdas_fn_positive=lambda x, m: np.repeat(share / m, len(x)), theta=1, convex_comb=True, trunc_scale=1)`,
    its logarithm after 10, 20, 40 and 60 outcomes."""
    found = log_wealth_path(outcomes(text), chance)[[9, 19, 39, 59]]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("differing", [0, 1, 5, 20, 84, 400])
@pytest.mark.parametrize("carried", [-3.0, 0.0, 2.0, 6.0, 8.0])
def test_no_bet_grows_on_average_where_the_challenger_is_no_better(differing: int, carried: float) -> None:
    wins, chances = game(differing)
    grown = np.exp(log_evidence(wins, differing - wins, LEVEL, carried) - carried)
    assert chances @ grown <= 1.0 + 1e-9
    # A worse challenger loses on top of that.
    worse = binom.pmf(wins, differing, 0.4)
    assert worse @ grown <= 1.0 + 1e-9


def test_the_game_is_fair_and_not_merely_unfavourable() -> None:
    wins, chances = game(20)
    assert chances @ np.exp(log_wealth(wins, 20 - wins)) == pytest.approx(1.0)


def test_whoever_looks_after_every_problem_is_fooled_no_more_often_than_promised() -> None:
    rng = np.random.default_rng(3)
    level, runs = 0.05, 4000
    won = rng.random((runs, 500)) < 0.5
    highest = log_wealth(np.cumsum(won, axis=1), np.cumsum(~won, axis=1)).max(axis=1)
    fooled = (highest >= -np.log(level)).mean()
    assert fooled <= level + 2 * np.sqrt(level * (1 - level) / runs)
    # The same look at a p-value of 5 % fools nearly everybody: what the stake is for.
    from_the_tenth = np.arange(10, 501)
    p_values = binom.sf(np.cumsum(won[:200], axis=1)[:, 9:] - 1, from_the_tenth, 0.5)
    assert (p_values.min(axis=1) <= level).mean() > 0.25


@given(st.integers(0, 300), st.integers(0, 300), st.floats(-2, 5))
def test_a_win_more_is_more_evidence_and_a_loss_more_is_less(first: int, second: int, carried: float) -> None:
    assert log_wealth(first + 1, second) >= log_wealth(first, second) >= log_wealth(first, second + 1)
    # Of as many problems on which the two differ, one more that the challenger wins.
    if second:
        assert log_evidence(first + 1, second - 1, LEVEL, carried) >= log_evidence(first, second, LEVEL, carried)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_the_order_of_problems_says_nothing(won: list[bool]) -> None:
    here, there = log_wealth_path(np.array(won)), log_wealth_path(np.array(sorted(won)))
    assert here[-1] == pytest.approx(there[-1])


def test_evidence_is_not_latched() -> None:
    wins_then_losses = np.concatenate([np.ones(40, dtype=bool), np.zeros(120, dtype=bool)])
    path = log_wealth_path(wins_then_losses)
    assert path[39] > -np.log(LEVEL) and path[-1] < 0


def test_no_stake_outgrows_the_cap_and_long_runs_of_losses_stay_finite() -> None:
    assert log_wealth(100_000, 0) == LOG_CAP
    assert np.isfinite(log_wealth(0, 100_000))
    assert log_evidence(500, 0, LEVEL, carried=9.0) == LOG_CAP


def test_evidence_of_earlier_problems_carries_on() -> None:
    alone = log_evidence(40, 20, LEVEL)
    assert alone < -np.log(LEVEL)
    assert log_evidence(40, 20, LEVEL, carried=float(log_evidence(40, 20, LEVEL))) > -np.log(LEVEL)


@pytest.mark.parametrize("chance", [0.0, 1.0, -0.5])
def test_a_chance_outside_of_zero_and_one_is_refused(chance: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        log_wealth(3, 2, chance)
