import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rjepa.inference.voting import NO_ANSWER, answer_ids, pick, ranks, top_k_mask, vote_shares, vote_weights
from rjepa.validation.answers import answer_key

SHAPE = st.tuples(st.integers(1, 5), st.integers(1, 6))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("12", " 12.0 "),
        ("1,200", "$1200"),
        ("Yes", "yes."),
        ("-0", "0"),
        ("0.50", ".5"),
        ("a  b", "A b"),
        ("1000", "1000."),
    ],
)
def test_answers_that_say_the_same_have_one_key(first: str, second: str) -> None:
    assert answer_key(first) == answer_key(second) is not None


@pytest.mark.parametrize(
    ("first", "second"), [("12", "21"), ("yes", "no"), ("1,20", "120"), ("3", "-3"), ("1.5", "15")]
)
def test_answers_that_differ_have_different_keys(first: str, second: str) -> None:
    assert answer_key(first) != answer_key(second)


@given(st.none() | st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_has_a_key_and_the_key_is_its_own_key(text: str | None) -> None:
    key = answer_key(text)
    assert key is None or answer_key(key) == key


def test_a_missing_answer_never_agrees_with_anything() -> None:
    ids = answer_ids([["7", None, "", "7.0", None]])
    assert ids.tolist() == [[0, NO_ANSWER, NO_ANSWER, 0, NO_ANSWER]]
    assert vote_shares(ids).tolist() == [[1.0, 0.0, 0.0, 1.0, 0.0]]


def test_shares_count_heads_or_weights() -> None:
    ids = np.array([[0, 1, 1, NO_ANSWER]])
    np.testing.assert_allclose(vote_shares(ids), [[1 / 3, 2 / 3, 2 / 3, 0.0]])
    np.testing.assert_allclose(vote_shares(ids, np.array([[6.0, 1.0, 1.0, 99.0]])), [[0.75, 0.25, 0.25, 0.0]])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_shares_of_distinct_answers_add_up_to_one(data: st.DataObject) -> None:
    shape = data.draw(SHAPE)
    ids = data.draw(arrays(np.int64, shape, elements=st.integers(-1, 3)))
    weights = data.draw(arrays(np.float64, shape, elements=st.floats(0, 10)))
    for row, share in zip(ids, vote_shares(ids, weights), strict=True):
        total = sum(share[row == answer][0] for answer in set(row.tolist()) - {NO_ANSWER})
        assert total == pytest.approx(1.0 if (row != NO_ANSWER).any() else 0.0)


def test_sharpness_zero_counts_heads_and_a_chain_without_a_score_does_not_vote() -> None:
    scores = np.array([[3.0, -1.0, -np.inf]])
    assert vote_weights(scores, 0.0).tolist() == [[1.0, 1.0, 0.0]]
    np.testing.assert_allclose(vote_weights(scores, 2.0), [[1.0, np.exp(-8.0), 0.0]])
    assert vote_shares(np.array([[0, 1]]), vote_weights(np.full((1, 2), -np.inf), 1.0)).tolist() == [[0.5, 0.5]]


def test_a_candidate_with_an_answer_beats_a_better_scored_one_without() -> None:
    ids = np.array([[NO_ANSWER, 0, 1], [NO_ANSWER, NO_ANSWER, NO_ANSWER]])
    assert pick(ids, np.array([[9.0, 1.0, 2.0], [1.0, 5.0, 3.0]])).tolist() == [2, 1]


def test_ties_go_to_the_next_key_then_to_the_first_sampled() -> None:
    ids = np.array([[0, 1, 2]])
    assert pick(ids, np.array([[1.0, 1.0, 0.0]])).tolist() == [0]
    assert pick(ids, np.array([[1.0, 1.0, 0.0]]), np.array([[0.0, 5.0, 9.0]])).tolist() == [1]
    assert pick(ids, np.full((1, 3), -np.inf)).tolist() == [0]
    assert pick(ids, np.array([[np.nan, -5.0, -6.0]])).tolist() == [1]


@given(arrays(np.float64, SHAPE, elements=st.floats(-5, 5)))
@settings(max_examples=60, deadline=None)
def test_the_picked_one_has_rank_zero_and_ranks_are_a_permutation(scores: np.ndarray) -> None:
    ids = np.zeros(scores.shape, dtype=np.int64)
    rank = ranks(ids, scores)
    assert np.sort(rank, axis=1).tolist() == [list(range(scores.shape[1]))] * scores.shape[0]
    assert (np.take_along_axis(rank, pick(ids, scores)[:, None], axis=1) == 0).all()
    assert (top_k_mask(ids, scores, 2).sum(axis=1) == min(2, scores.shape[1])).all()


def test_top_0_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        top_k_mask(np.zeros((1, 2), dtype=np.int64), np.zeros((1, 2)), 0)
