import math

import numpy as np
import pytest

from rjepa.evaluation.first_error import first_error_f1, first_error_steps, fit_threshold


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


CHAINS = [np.array([1.0, 5.0, 9.0]), np.array([4.0, 1.0]), np.array([1.0, 2.0]), np.array([3.5, 0.0]), np.array([9.0])]
FIRST = [1, 1, None, None, 4]
RIGHT = [False, False, True, True, False]


def test_f1_counts_exact_finds_and_spared_right_chains() -> None:
    # Above 3: the first chain's step 1 is found, the second is flagged too early; one of two right chains is spared.
    # The last one's error lies beyond its steps: it does not count.
    marks = first_error_f1(CHAINS, FIRST, RIGHT, 3.0)
    assert (marks.found, marks.spared, marks.f1) == (0.5, 0.5, 0.5)
    assert first_error_f1(CHAINS, FIRST, RIGHT, 100.0).f1 == 0.0


def test_the_threshold_is_the_one_with_the_best_f1() -> None:
    threshold = fit_threshold(CHAINS, FIRST, RIGHT)
    assert 3.5 <= threshold < 5
    assert first_error_f1(CHAINS, FIRST, RIGHT, threshold).f1 == pytest.approx(2 * 0.5 / 1.5)


def test_without_wrong_or_without_right_chains_there_is_no_threshold() -> None:
    assert math.isinf(fit_threshold(CHAINS, FIRST, [False] * 5))
    assert math.isinf(fit_threshold([], [], []))
    assert math.isnan(first_error_f1(CHAINS, FIRST, [False] * 5, 1.0).f1)
