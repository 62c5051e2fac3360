"""One vector a segment."""

import numpy as np
import pytest
import torch

from rjepa.students.pooling import FLOAT16_LIMIT, pool_segments, to_float16

STATES = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [5.0, 50.0]])
CONTENT = np.array([True, False, True, False])


def pooled(boundaries: list[int], *poolings: str) -> list[list[float]]:
    return pool_segments(STATES, np.array(boundaries), CONTENT, poolings).tolist()


def test_each_pooling_reads_the_tokens_it_names() -> None:
    assert pooled([0, 2, 4], "mean") == [[1.5, 15.0], [4.0, 40.0]]
    assert pooled([0, 2, 4], "last") == [[1.0, 10.0], [3.0, 30.0]]
    assert pooled([0, 2, 4], "end") == [[2.0, 20.0], [5.0, 50.0]]


def test_poolings_stand_side_by_side_in_the_order_asked_for() -> None:
    assert pooled([0, 4], "end", "mean") == [[5.0, 50.0, 2.75, 27.5]]


def test_a_segment_without_a_letter_or_digit_takes_its_end() -> None:
    assert pooled([0, 1, 2, 4], "last")[1] == [2.0, 20.0]


def test_an_empty_segment_takes_the_token_before_it() -> None:
    for pooling in ("mean", "last", "end"):
        assert pooled([0, 3, 3, 4], pooling)[1] == [3.0, 30.0]


def test_pooling_many_chains_at_once_equals_pooling_each() -> None:
    both = pool_segments(
        STATES.repeat(2, 1), np.array([0, 2, 4, 5, 8]), np.tile(CONTENT, 2), ("mean", "last", "end")
    )
    first = pool_segments(STATES, np.array([0, 2, 4]), CONTENT, ("mean", "last", "end"))
    second = pool_segments(STATES, np.array([0, 1, 4]), CONTENT, ("mean", "last", "end"))
    assert torch.equal(both, torch.cat([first, second]))


def test_states_that_do_not_fit_the_boundaries_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 9"):
        pooled([0, 9], "mean")


def test_massive_activations_stay_finite_in_float16() -> None:
    assert to_float16(torch.tensor([1e9, -1e9])).tolist() == [FLOAT16_LIMIT, -FLOAT16_LIMIT]
