"""The rise of a calibration error: estimated without bias, bounded as often as promised, and blind to order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rjepa.evaluation.calibration_rise import compare_calibration


def told(rng: np.random.Generator, shift: float, problems: int = 1000) -> tuple[tuple, tuple]:
    """Two that are right on nearly the same problems; the first tells chances that are too high by `shift`."""
    true = rng.uniform(0.1, 0.8, problems)
    second = rng.random(problems) < true
    first = np.where(rng.random(problems) < 0.6, second, rng.random(problems) < true)
    return (true + shift, true), (first, second)


def rises(shift: float, runs: int, problems: int = 1000) -> list:
    rng = np.random.default_rng(6)
    found = [compare_calibration(*told(rng, shift, problems)) for _ in range(runs)]
    return [each for each in found if each is not None]


def test_a_rise_of_five_points_is_excluded_of_equal_ones_and_not_of_those_that_rose_by_it() -> None:
    assert np.mean([each.bound < 0.05 for each in rises(0.0, 100)]) > 0.95
    # Nominally one in twenty: near an error of nothing the bound is a little short.
    assert np.mean([each.bound < 0.05 for each in rises(0.05, 200)]) < 0.13
    assert not any(each.bound < 0.05 for each in rises(0.1, 50))


def test_the_error_of_each_is_found() -> None:
    found = rises(0.06, 30, 4000)
    assert np.mean([each.first_error for each in found]) == pytest.approx(0.06, abs=0.003)
    assert np.mean([each.second_error for each in found]) < 0.01
    squares = np.array([each.first_error**2 for each in found])
    assert squares.mean() == pytest.approx(0.06**2, abs=3 * squares.std() / np.sqrt(len(squares)))


def test_more_problems_tell_more() -> None:
    wide, narrow = (np.mean([each.bound - each.rise for each in rises(0.04, 20, size)]) for size in (500, 4000))
    assert narrow < 0.5 * wide


def test_too_sure_is_as_wrong_as_too_high() -> None:
    rng = np.random.default_rng(9)
    true = rng.uniform(0.1, 0.9, 6000)
    right = rng.random(6000) < true
    sure = np.clip(0.5 + 1.25 * (true - 0.5), 0, 1)  # off by 0.058, on average by nothing
    found = compare_calibration((sure, true), (right, right))
    assert found is not None
    assert found.first_error == pytest.approx(0.058, abs=0.015) and found.second_error < 0.02


def test_calibration_is_compared_only_where_both_tell_chances() -> None:
    (first, second), right = told(np.random.default_rng(8), 0.0)
    first[:600] = np.nan
    found = compare_calibration((first, second), right)
    assert found is not None and found.problems == 400
    assert compare_calibration((np.full(1000, np.nan), second), right) is None


def test_one_who_tells_the_same_chance_for_all_is_measured() -> None:
    right = np.arange(1000) < 600
    found = compare_calibration((np.full(1000, 0.7), np.full(1000, 0.6)), (right, right))
    assert found is not None
    assert found.first_error == pytest.approx(0.1, abs=0.002) and found.second_error == 0.0
    assert 0.1 < found.bound < 0.14


def test_chances_that_come_true_each_time_leave_nothing_to_chance() -> None:
    right = np.arange(400) % 2 == 0
    found = compare_calibration((right.astype(float), right.astype(float)), (right, right))
    assert found is not None and (found.first_error, found.second_error, found.bound) == (0.0, 0.0, 0.0)


@given(st.integers(0, 2**31), st.sampled_from([[0.3, 0.5, 0.9], [0.2, 0.8], [0.5]]))
def test_the_order_of_problems_does_not_matter_where_many_chances_are_equal(seed: int, values: list[float]) -> None:
    rng = np.random.default_rng(seed)
    chances = rng.choice(values, 300)
    right = np.sort(rng.random(300) < chances)
    order = rng.permutation(300)
    one = compare_calibration((chances, 1 - chances), (right, ~right))
    other = compare_calibration((chances[order], 1 - chances[order]), (right[order], ~right[order]))
    assert one is not None and other is not None
    assert (one.first_error, one.second_error, one.bound) == pytest.approx(
        (other.first_error, other.second_error, other.bound), abs=1e-6
    )
    # The two of a pair are mirror images here: neither tells its chances worse.
    assert one.rise == pytest.approx(0.0, abs=1e-6) and one.bound >= -1e-9
