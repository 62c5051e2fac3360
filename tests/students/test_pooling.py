"""One vector a segment."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rjepa.students.catalog import Pooling
from rjepa.students.pooling import FLOAT16_LIMIT, pool_segments, to_float16
from rjepa.students.segmentation import TokenMarks

STATES = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [5.0, 50.0]])
ALL: tuple[Pooling, ...] = get_args(Pooling)


def marks_of(pieces: str) -> TokenMarks:
    """Of tokens of one character each."""
    return TokenMarks(
        content=np.array([piece.isalnum() for piece in pieces], dtype=bool),
        digit=np.array([piece.isdigit() for piece in pieces], dtype=bool),
        point=np.array([piece in ".," for piece in pieces], dtype=bool),
    )


MARKS = marks_of("a b ")


def pooled(boundaries: list[int], *poolings: Pooling) -> list[list[float]]:
    return pool_segments(STATES, np.array(boundaries), MARKS, poolings).tolist()


def numbers(pieces: str, *boundaries: int) -> list[list[int]]:
    """Which tokens the pooling `number` averages, by segment."""
    bounds = np.array([0, *boundaries, len(pieces)])
    weights = pool_segments(torch.eye(len(pieces)), bounds, marks_of(pieces), ("number",))
    assert torch.allclose(weights.sum(dim=1), torch.ones(len(weights)))
    return [row.nonzero().flatten().tolist() for row in weights]


def test_each_pooling_reads_the_tokens_it_names() -> None:
    assert pooled([0, 2, 4], "mean") == [[1.5, 15.0], [4.0, 40.0]]
    assert pooled([0, 2, 4], "last") == [[1.0, 10.0], [3.0, 30.0]]
    assert pooled([0, 2, 4], "end") == [[2.0, 20.0], [5.0, 50.0]]


def test_poolings_stand_side_by_side_in_the_order_asked_for() -> None:
    assert pooled([0, 4], "end", "mean") == [[5.0, 50.0, 2.75, 27.5]]


def test_a_segment_without_a_letter_or_digit_takes_its_end() -> None:
    assert pooled([0, 1, 2, 4], "last")[1] == [2.0, 20.0]


def test_an_empty_segment_takes_the_token_before_it() -> None:
    for pooling in ALL:
        assert pooled([0, 3, 3, 4], pooling)[1] == [3.0, 30.0]


def test_number_is_all_digits_of_the_last_number_of_a_segment() -> None:
    assert numbers("3*12=36 ") == [[5, 6]]
    assert numbers("12 cats", 3) == [[0, 1], [6]]  # without a number, as `last`
    assert numbers("a 1.50, b") == [[2, 3, 4, 5]]
    assert numbers("so 2,000.") == [[3, 4, 5, 6, 7]]


def test_a_number_ends_where_its_segment_does() -> None:
    assert numbers("a12345", 3) == [[1, 2], [3, 4, 5]]
    assert numbers("a1.5", 2) == [[1], [3]]
    assert numbers("a1.5", 3) == [[1], [3]]


@given(st.lists(st.text(alphabet="1.,a ", min_size=1, max_size=6), min_size=1, max_size=4), st.data())
def test_pooling_many_chains_at_once_equals_pooling_each(chains: list[str], data: st.DataObject) -> None:
    bounds = [[0, *data.draw(st.lists(st.integers(1, len(chain)), max_size=3).map(sorted))] for chain in chains]
    states = torch.arange(2.0 * sum(map(len, chains))).reshape(-1, 2)
    *firsts, end = np.cumsum([0, *map(len, chains)])
    inner = [first + np.array(part) for first, part in zip(firsts, bounds, strict=True)]
    together = np.concatenate([*inner, [end]])
    both = pool_segments(states, together, marks_of("".join(chains)), ALL)
    each = [
        pool_segments(states[first : first + len(chain)], np.array([*part, len(chain)]), marks_of(chain), ALL)
        for first, part, chain in zip(firsts, bounds, chains, strict=True)
    ]
    assert torch.equal(both, torch.cat(each))


def test_states_that_do_not_fit_the_boundaries_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 9"):
        pooled([0, 9], "mean")


def test_massive_activations_stay_finite_in_float16() -> None:
    assert to_float16(torch.tensor([1e9, -1e9])).tolist() == [FLOAT16_LIMIT, -FLOAT16_LIMIT]
