"""One candidate at a time: where a policy stops, what it has paid by then, and when a vote is over."""

import numpy as np
import pytest

from rjepa.inference.calibrating import fit_calibration
from rjepa.inference.stopping import Path, is_stable
from tests.inference.making import synthetic


@pytest.fixture(scope="module")
def path() -> Path:
    calibration = fit_calibration(*synthetic(1500))
    return Path.of(calibration, *synthetic(800, seed=3))


def test_a_policy_stops_at_the_first_candidate_that_is_sure_enough_and_pays_for_those_before(path: Path) -> None:
    stop = path.stop_at(0.8)
    for row in range(len(stop.drawn)):
        drawn = int(stop.drawn[row])
        sure = path.p_correct[row] >= 0.8
        assert not sure[: drawn - 1].any()
        assert stop.reached[row] == sure.any()
        assert sure[drawn - 1] or drawn == 8
        assert stop.tokens[row] == path.tokens[row, drawn - 1]
    assert (path.stop_after(3).drawn == 3).all()


def test_a_higher_target_draws_more_and_errs_less(path: Path) -> None:
    low, high = path.stop_at(0.6), path.stop_at(0.9)
    assert (high.drawn >= low.drawn).all() and high.drawn.sum() > low.drawn.sum()
    assert high.right[high.reached].mean() > low.right[low.reached].mean()


def test_a_vote_is_over_when_the_leader_will_stay_ahead() -> None:
    assert not is_stable(np.array([0, 0, 0]))
    assert is_stable(np.array([0, 0, 0, 0]))
    assert not is_stable(np.array([0, 0, 0, 0, 1, 1, 2]))
    assert not is_stable(np.array([-1, -1, -1, -1]))
