import numpy as np
import pytest
from statsmodels.api import OLS

from rjepa.evaluation.length import without_length
from rjepa.evaluation.metrics import within_problem_auroc


def test_the_residual_is_that_of_a_regression_with_a_dummy_a_problem() -> None:
    rng = np.random.default_rng(0)
    scores, lengths = rng.normal(size=(12, 5)), rng.normal(size=(12, 5, 2))
    scores[3, 2] = scores[7, 0] = -np.inf
    ours = without_length(scores, lengths)
    known = np.isfinite(scores)
    problem = np.repeat(np.arange(12), 5).reshape(12, 5)
    dummies = (problem[known][:, None] == np.arange(12)).astype(float)
    theirs = OLS(scores[known], np.column_stack([lengths[known], dummies])).fit().resid
    np.testing.assert_allclose(ours[known], theirs, atol=1e-9)
    assert (ours[~known] == -np.inf).all()


def test_a_score_that_only_knows_the_length_is_worth_nothing_without_it() -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(10, 60, size=(400, 8)).astype(float)
    correct = rng.random((400, 8)) < 1 / (1 + np.exp((lengths - 35) / 8))
    knows_length = -lengths + 0.01 * rng.normal(size=lengths.shape)
    assert np.nanmean(within_problem_auroc(knows_length, correct)) > 0.8
    left = without_length(knows_length, lengths[..., None])
    assert np.nanmean(within_problem_auroc(left, correct)) == pytest.approx(0.5, abs=0.03)
    knows_more = knows_length + 5 * correct
    left = without_length(knows_more, lengths[..., None])
    assert np.nanmean(within_problem_auroc(left, correct)) > 0.8


def test_strata_compare_candidates_of_equal_length_only() -> None:
    correct = np.array([[True, False, False, True]])
    scores, steps = np.array([[3.0, 1.0, 9.0, 2.0]]), np.array([[4.0, 4.0, 5.0, 5.0]])
    # (first, second) is won, (fourth, third) is lost; pairs of unequal length do not count.
    assert within_problem_auroc(scores, correct, steps).tolist() == [0.5]
    assert np.isnan(within_problem_auroc(scores, correct, np.arange(4.0)[None])).all()
