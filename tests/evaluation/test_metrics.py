import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from rjepa.evaluation.metrics import (
    area_under_risk_coverage,
    auroc,
    calibration_error_by_chance,
    debiased_calibration_error,
    expected_calibration_error,
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


def test_auroc_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    scores, positive = rng.integers(0, 9, size=150).astype(float), rng.random(150) < 0.4
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


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


def test_the_debiased_calibration_error_forgives_what_chance_does() -> None:
    rng = np.random.default_rng(4)
    chance = rng.random(1500)
    fair = [debiased_calibration_error(chance, rng.random(1500) < chance) for _ in range(40)]
    plain = [expected_calibration_error(chance, rng.random(1500) < chance) for _ in range(40)]
    assert np.mean(fair) < np.mean(plain) < 0.04
    off = debiased_calibration_error(np.clip(chance - 0.1, 0, 1), rng.random(1500) < chance)
    assert off == pytest.approx(0.1, abs=0.035)
    assert math.isnan(debiased_calibration_error(np.array([0.5]), np.array([True])))


def test_the_debiased_calibration_error_by_hand() -> None:
    # Two bins of three: 1/3 right at 0.3, 2/3 right at 0.9; each share varies by (1/3)(2/3)/2 = 1/9.
    chance, right = np.array([0.3] * 3 + [0.9] * 3), np.array([True, False, False, True, True, False])
    squared = 0.5 * ((0.3 - 1 / 3) ** 2 - 1 / 9) + 0.5 * ((0.9 - 2 / 3) ** 2 - 1 / 9)
    assert squared < 0 and debiased_calibration_error(chance, right, bins=2) == 0.0
    right = np.array([True] * 3 + [False] * 3)
    expected = math.sqrt(0.5 * 0.7**2 + 0.5 * 0.9**2)
    assert debiased_calibration_error(chance, right, bins=2) == pytest.approx(expected)


def test_risk_against_coverage_by_hand_and_blind_to_the_order_of_ties() -> None:
    right = np.array([True, False, True, False])
    # risks at coverages 1/4 .. 4/4: 0, 1/2, 1/3, 1/2
    assert area_under_risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), right) == pytest.approx(
        (0 + 1 / 2 + 1 / 3 + 1 / 2) / 4
    )
    assert area_under_risk_coverage(np.full(4, 0.5), right) == pytest.approx(0.5)


@given(arrays(np.float64, (6, 5), elements=st.floats(-3, 3)), arrays(bool, (6, 5)))
@settings(max_examples=50, deadline=None)
def test_turning_a_score_around_turns_its_auroc_around(scores: np.ndarray, correct: np.ndarray) -> None:
    np.testing.assert_allclose(within_problem_auroc(scores, correct), 1 - within_problem_auroc(-scores, correct))
