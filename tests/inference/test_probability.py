"""P(correct): calibrated where the truth is no logistic, in the order of what was said, and left alone by few rows."""

import numpy as np

from rjepa.evaluation.metrics import expected_calibration_error
from rjepa.inference.curved import CurvedLogistic


def _sharp(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [rows, 3] and truths: right in 98 of 100 above a score of 0, in 15 below, and nothing in between."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, 3))
    return inputs, rng.random(rows) < np.where(inputs[:, 0] > 0, 0.98, 0.15)


def test_a_truth_that_is_no_logistic_is_met_on_new_answers() -> None:
    model = CurvedLogistic.fit(*_sharp(3000, 0))
    plain = model.model_copy(update={"curve": ()})
    inputs, correct = _sharp(3000, 1)
    bent, straight = (expected_calibration_error(one.probability(inputs), correct) for one in (model, plain))
    assert straight > 0.06 and bent < 0.03


def test_the_curve_never_turns_an_order_round_and_stays_within_0_and_1() -> None:
    model = CurvedLogistic.fit(*_sharp(1000, 0))
    inputs = np.random.default_rng(2).normal(scale=4, size=(50, 8, 3))
    fitted, curved = (one.probability(inputs).ravel() for one in (model.model_copy(update={"curve": ()}), model))
    assert (np.diff(curved[np.argsort(fitted)]) >= 0).all() and curved.min() >= 0 and curved.max() <= 1
    assert model == CurvedLogistic.model_validate_json(model.model_dump_json())


def test_few_answers_and_equal_ones_are_no_trouble() -> None:
    assert CurvedLogistic.fit(*_sharp(299, 0)).curve == ()
    inputs = np.zeros((400, 3))
    model = CurvedLogistic.fit(inputs, np.arange(400) < 100)
    np.testing.assert_allclose(model.probability(inputs), 0.25, atol=0.01)
    assert np.isfinite(CurvedLogistic.fit(np.zeros((0, 3)), np.zeros(0, dtype=bool)).probability(inputs)).all()
