import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import mannwhitneyu

from rjepa.evaluation.metrics import (
    area_under_risk_coverage,
    auroc,
    calibration_error_by_chance,
    expected_calibration_error,
    first_error_steps,
    gap_closed,
    pass_at_k,
    reliability,
    within_problem_auroc,
)


def test_auroc_agrees_with_the_mann_whitney_statistic_ties_included() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 12, size=200).astype(float), rng.random(200) < 0.3
    statistic = mannwhitneyu(scores[positive], scores[~positive]).statistic
    assert auroc(scores, positive) == pytest.approx(statistic / (positive.sum() * (~positive).sum()))


def test_auroc_of_one_kind_only_is_not_defined() -> None:
    assert math.isnan(auroc(np.array([1.0, 2.0]), np.array([True, True])))


def test_within_problem_auroc_is_the_auroc_inside_each_mixed_problem() -> None:
    rng = np.random.default_rng(1)
    scores, correct = rng.integers(0, 4, size=(50, 8)).astype(float), rng.random((50, 8)) < 0.4
    correct[0], correct[1] = True, False
    expected = [auroc(row, right) for row, right in zip(scores, correct, strict=True)]
    np.testing.assert_allclose(within_problem_auroc(scores, correct), expected)


def test_a_score_that_only_knows_the_difficulty_is_worth_nothing_within_problems() -> None:
    rng = np.random.default_rng(2)
    ease = rng.random((2000, 1))
    correct = rng.random((2000, 8)) < ease
    scores = ease + 0.01 * rng.normal(size=correct.shape)
    assert auroc(scores, correct) > 0.75
    assert np.nanmean(within_problem_auroc(scores, correct)) == pytest.approx(0.5, abs=0.02)


@given(
    st.integers(1, 7).flatmap(lambda n: st.tuples(st.integers(1, n), st.lists(st.booleans(), min_size=n, max_size=n)))
)
@settings(max_examples=80, deadline=None)
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(case: tuple[int, list[bool]]) -> None:
    k, right = case
    subsets = list(combinations(right, k))
    assert pass_at_k(np.array([right]), k)[0] == pytest.approx(np.mean([any(subset) for subset in subsets]))


def test_pass_at_more_than_all_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="between 1 and 2"):
        pass_at_k(np.zeros((1, 2), dtype=bool), 3)


def test_gap_closed_runs_from_mean_at_1_to_the_oracle_and_needs_a_gap() -> None:
    np.testing.assert_allclose(gap_closed(np.array([0.2, 0.5, 0.35, 0.1]), 0.2, np.full(4, 0.5)), [0, 1, 0.5, -1 / 3])
    assert math.isnan(gap_closed(0.5, 0.5, 0.5))


def test_ece_is_the_weighted_distance_of_the_bins() -> None:
    chance = np.array([0.15, 0.15, 0.85, 0.85, 1.0])
    right = np.array([False, True, True, True, False])
    # 2/5 |0.15 - 0.5| + 2/5 |0.85 - 1| + 1/5 |1 - 0|
    assert expected_calibration_error(chance, right) == pytest.approx(0.4)
    assert [(part.low, part.count, part.observed) for part in reliability(chance, right)] == [
        (0.1, 2, 0.5),
        (0.8, 2, 1.0),
        (0.9, 1, 0.0),
    ]


def test_perfect_probabilities_have_an_ece_no_larger_than_chance_allows() -> None:
    rng = np.random.default_rng(3)
    chance = rng.random(4000)
    floor = calibration_error_by_chance(chance, rng=rng)
    assert expected_calibration_error(chance, rng.random(4000) < chance) < 2 * floor < 0.05
    assert expected_calibration_error(chance**2, rng.random(4000) < chance) > 3 * floor


def test_risk_against_coverage_by_hand_and_blind_to_the_order_of_ties() -> None:
    right = np.array([True, False, True, False])
    # risks at coverages 1/4 .. 4/4: 0, 1/2, 1/3, 1/2
    assert area_under_risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), right) == pytest.approx(
        (0 + 1 / 2 + 1 / 3 + 1 / 2) / 4
    )
    assert area_under_risk_coverage(np.full(4, 0.5), right) == pytest.approx(0.5)


def test_steps_after_the_first_error_do_not_count() -> None:
    chains = [np.array([1.0, 5.0, 0.0, 9.0]), np.array([2.0, 2.5]), np.array([7.0]), np.array([8.0, 8.0])]
    steps = first_error_steps(chains, [1, None, None, 5], [False, True, False, False])
    assert steps.energies.tolist() == [1.0, 5.0, 2.0, 2.5]
    assert steps.is_first_error.tolist() == [False, True, False, False]
    assert steps.positions.tolist() == [0, 1, 0, 1]
    assert (steps.chains, steps.unaligned, steps.auroc()) == (1, 1, 1.0)
    assert steps.position_auroc() == pytest.approx((1 + 1 + 0.5) / 3)


def test_no_chain_at_all_gives_no_first_error_auroc() -> None:
    assert math.isnan(first_error_steps([], [], []).auroc())


@given(arrays(np.float64, (6, 5), elements=st.floats(-3, 3)), arrays(bool, (6, 5)))
@settings(max_examples=50, deadline=None)
def test_turning_a_score_around_turns_its_auroc_around(scores: np.ndarray, correct: np.ndarray) -> None:
    np.testing.assert_allclose(within_problem_auroc(scores, correct), 1 - within_problem_auroc(-scores, correct))
