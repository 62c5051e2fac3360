import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from rjepa.evaluation import statistics
from rjepa.evaluation.statistics import (
    Resamples,
    bootstrap_p_value,
    holm,
    interval,
    mcnemar,
)


def _resamples(problems: int, seed: int = 0, resamples: int = 2000) -> Resamples:
    return Resamples(problems, rng=np.random.default_rng(seed), resamples=resamples)


def test_the_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).random(300) ** 2
    ours = interval(_resamples(300, resamples=4000).means(values[:, None]))
    theirs = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1))
    np.testing.assert_allclose(
        [ours[0][0], ours[1][0]], [theirs.confidence_interval.low, theirs.confidence_interval.high], atol=0.004
    )


def test_the_interval_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    samples = (rng.random((150, 400)) < 0.3).astype(float)  # 400 repetitions of 150 problems, as columns
    low, high = interval(_resamples(150, resamples=1000).means(samples))
    assert 0.91 <= np.mean((low <= 0.3) & (high >= 0.3)) <= 0.985


def test_equal_seeds_give_equal_resamples_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((50, 2))
    first = _resamples(50, resamples=100)
    np.testing.assert_array_equal(first.means(values), _resamples(50, resamples=100).means(values))
    np.testing.assert_array_equal(first.means(values), first.means(values))
    monkeypatch.setattr(statistics, "_BLOCK", 50 * 7)
    many = _resamples(50, resamples=100).means(values)
    assert many.shape == (100, 2)
    assert many.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=0.02)


def test_problems_without_a_value_are_left_out_of_the_mean() -> None:
    values = np.array([[1.0, np.nan], [1.0, np.nan], [np.nan, np.nan]])
    drawn = _resamples(3, resamples=500).means(values)
    assert set(drawn[np.isfinite(drawn[:, 0]), 0].tolist()) == {1.0}
    low, high = interval(drawn)
    assert low[0] == high[0] == 1.0 and np.isnan([low[1], high[1]]).all()


def test_two_columns_are_resampled_together() -> None:
    values = np.random.default_rng(0).random((40, 1))
    drawn = _resamples(40).means(np.concatenate([values, values + 0.25], axis=1))
    np.testing.assert_allclose(drawn[:, 1] - drawn[:, 0], 0.25, atol=1e-5)


@given(st.integers(1, 40), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_no_digit_depends_on_the_order_in_which_problems_are_added(others: int, seed: int) -> None:
    """A matrix product adds in an order of its own, which its width, the processor and its threads change."""
    values = np.random.default_rng(seed).random((333, 1 + others))
    alone = _resamples(333, resamples=64).means(values[:, :1])
    np.testing.assert_array_equal(_resamples(333, resamples=64).means(values)[:, :1], alone)
    assert alone.mean() == pytest.approx(values[:, 0].mean(), abs=0.02)


@given(st.integers(0, 30), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_mcnemar_agrees_with_the_binomial_test(only_first: int, only_second: int) -> None:
    first = np.array([True] * only_first + [False] * only_second + [True, False])
    second = np.array([False] * only_first + [True] * only_second + [True, False])
    test = mcnemar(first, second)
    assert (test.only_first, test.only_second) == (only_first, only_second)
    total = only_first + only_second
    expected = binomtest(only_first, total).pvalue if total else 1.0
    assert test.p_value == pytest.approx(expected)
    assert test.p_value == pytest.approx(statsmodels_mcnemar([[1, only_first], [only_second, 1]], exact=True).pvalue)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    many = np.random.default_rng(0).random(30).tolist()
    assert holm(many) == pytest.approx(multipletests(many, method="holm")[1].tolist())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_holm_only_raises_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= after <= 1.0 for p, after in zip(p_values, adjusted, strict=True))
    assert [adjusted[i] for i in np.argsort(p_values, kind="stable")] == sorted(adjusted)


def test_a_p_value_is_never_zero_and_is_one_for_no_difference() -> None:
    assert bootstrap_p_value(np.full(999, 0.1)) == pytest.approx(0.002)
    assert bootstrap_p_value(np.zeros(999)) == 1.0


def test_p_values_of_no_difference_are_spread_evenly() -> None:
    rng = np.random.default_rng(5)
    differences = rng.integers(-1, 2, size=(200, 300)).astype(float)
    drawn = _resamples(200, resamples=1000).means(differences)
    p_values = [bootstrap_p_value(drawn[:, column]) for column in range(300)]
    assert np.mean(np.array(p_values) < 0.05) < 0.09


def test_no_problem_cannot_be_resampled() -> None:
    with pytest.raises(ValueError, match="need problems"):
        _resamples(0)
