import numpy as np
import pytest

from rjepa.inference.uncertainty import measure_uncertainty
from rjepa.inference.voting import NO_ANSWER


def test_uncertainty_by_hand() -> None:
    ids = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 2, NO_ANSWER], [0, 0, 0, 1]])
    found = measure_uncertainty(np.array([1.0, 0.5, 0.25, 0.9]), ids)
    quarter = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    tenth = -(0.1 * np.log2(0.1) + 0.9 * np.log2(0.9))
    assert found.doubt.tolist() == pytest.approx([0.0, 1.0, quarter, tenth])
    # 4 equal votes: 0 bits; 2 and 2: 1 of 2 bits; 4 different ones (none is an answer of its own): 2 of 2; 3 and 1.
    assert found.disagreement.tolist() == pytest.approx([0.0, 0.5, 1.0, quarter / 2])
    assert found.score.argsort().tolist() == [0, 3, 1, 2]


def test_one_candidate_cannot_disagree_with_itself() -> None:
    found = measure_uncertainty(np.array([0.5, 0.0]), np.array([[0], [NO_ANSWER]]))
    assert found.disagreement.tolist() == [0.0, 0.0] and found.score.tolist() == [0.5, 0.0]


def test_where_nobody_knows_how_likely_an_answer_is_doubt_is_whole() -> None:
    found = measure_uncertainty(np.array([np.nan, 0.9]), np.array([[0, 0], [0, 0]]))
    assert found.doubt[0] == 1.0 > found.doubt[1]
