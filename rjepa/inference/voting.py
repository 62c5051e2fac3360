"""Choose among candidates: when are two answers the same, what share of the vote has each, which one wins.

Pure functions, shared by the service (one problem) and the leaderboard (all).
Every choice is deterministic: ties go to the higher score, then to the candidate that was sampled first.

Dimensions: problems, and the candidates of each.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float, Int, Shaped

from rjepa.arrays import Bools, Float64, Int64
from rjepa.validation.answers import answer_key

AnswerIds = Int[Int64, "problems candidates"]
"""int64: equal numbers within a row mean equal answers, `NO_ANSWER` none at all."""
Scores = Float[Float64, "problems candidates"]
Marks = Bool[Bools, "problems candidates"]
Chosen = Int[Int64, " problems"]
"""int64: index of one candidate of each problem."""
_Value = TypeVar("_Value", bound=np.generic)

NO_ANSWER = -1


def answer_ids(answers: Sequence[Sequence[str | None]]) -> AnswerIds:
    """Number the answers of each problem. What counts as one answer is for `rjepa.validation.answers.answer_key`.

    Every problem has as many candidates as the others.
    """
    rows = []
    for row in answers:
        seen: dict[str, int] = {}
        keys = [answer_key(answer) for answer in row]
        rows.append([NO_ANSWER if key is None else seen.setdefault(key, len(seen)) for key in keys])
    return np.array(rows, dtype=np.int64).reshape(len(rows), -1)


def vote_shares(ids: AnswerIds, weights: Scores | None = None) -> Scores:
    """Each candidate's answer's share of the votes, in [0, 1].

    Args:
        ids: as from `answer_ids`. Candidates without an answer do not vote and have share 0.
        weights: non-negative, finite; None counts heads. A problem whose voters all weigh 0 counts heads.
    """
    voting = ids != NO_ANSWER
    cast = voting.astype(np.float64) if weights is None else np.where(voting, weights, 0.0)
    total = cast.sum(axis=-1, keepdims=True)
    cast = np.where(total > 0, cast, voting.astype(np.float64))
    total = cast.sum(axis=-1, keepdims=True)
    same = (ids[..., :, None] == ids[..., None, :]) & voting[..., :, None]
    votes = np.where(same, cast[..., None, :], 0.0).sum(axis=-1)
    shares: Float64 = np.zeros(votes.shape)
    np.divide(votes, total, out=shares, where=total > 0)
    return shares


def vote_weights(scores: Scores, sharpness: float) -> Scores:
    """exp(sharpness * score), scaled so that the best of each problem weighs 1. Sharpness 0 counts heads.

    A score of -inf weighs 0, whatever the sharpness, unless no score of the problem is finite.
    """
    best = np.max(scores, axis=-1, keepdims=True)
    shifted = scores - np.where(np.isfinite(best), best, 0.0)
    finite = np.isfinite(scores)
    return np.where(finite, np.exp(sharpness * np.where(finite, shifted, 0.0)), 0.0)


def pick(ids: AnswerIds, *keys: Scores) -> Chosen:
    """Index of the winner of each problem.

    Candidates with an answer come before those without; then the higher first key, then the next key, then the
    lower index. NaN counts as -inf.
    """
    best = ids != NO_ANSWER
    best = best | ~best.any(axis=-1, keepdims=True)
    for key in keys:
        value = np.where(best, np.nan_to_num(key, nan=-np.inf, posinf=np.inf, neginf=-np.inf), -np.inf)
        best = best & (value == value.max(axis=-1, keepdims=True))
    winners: Int64 = np.argmax(best, axis=-1).astype(np.int64)
    return winners


def top_k_mask(ids: AnswerIds, scores: Scores, top_k: int) -> Marks:
    """Which candidates are among the `top_k` best scored of their problem, those with an answer first.

    Raises:
        ValueError: `top_k` is below 1.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    return ranks(ids, scores) < top_k


def of_chosen(
    values: Shaped[npt.NDArray[_Value], "problems candidates"], chosen: Chosen
) -> Shaped[npt.NDArray[_Value], " problems"]:
    """What each problem's chosen candidate has."""
    return np.take_along_axis(values, chosen[:, None], axis=1)[:, 0]


def ranks(ids: AnswerIds, scores: Scores) -> AnswerIds:
    """0 for the best scored candidate of each problem, 1 for the next, ...; those without an answer come last."""
    clean = np.nan_to_num(scores, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    order = np.lexsort((-clean, ids == NO_ANSWER), axis=-1)  # stable: ties keep the sampling order
    return np.argsort(order, axis=-1).astype(np.int64)
