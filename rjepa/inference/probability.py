"""P(correct) of an answer, from its score, its votes, and what its problem looks like.

Answers, not candidates, are right or wrong: candidates that agree share one probability. The chosen answer has a model
of its own: an answer that came first of eight is right more often than one with the same score and votes that did not
(docs/lab-book/19-p-correct-of-the-chosen-answer.md). The score itself is fitted in `rjepa.inference.calibrating`.

Dimensions: problems, and the candidates of each; answers picked from them; inputs of the logistic.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float
from pydantic import Field
from scipy.special import logit

from rjepa.arrays import Float64
from rjepa.inference.aggregate import problem_means
from rjepa.inference.choice import Rule, Selection
from rjepa.inference.curved import CurvedLogistic
from rjepa.inference.score import CompositeScore
from rjepa.inference.table import CandidateTable
from rjepa.inference.voting import NO_ANSWER, AnswerIds, Marks, vote_shares, vote_weights

PROBLEM_FEATURES: Final = (
    "steps",
    "tokens",
    "logprob_mean",
    "logprob_sum",
    "self_certainty",
    "energy_mean",
    "energy_log",
    "digits",
    "letters",
)
"""Their means over a problem's candidates say how hard it is and of what kind, which no score does that is made to
compare candidates of one problem. Without, one kind is told too much and another too little
(docs/lab-book/37-p-correct-knows-difficulty.md, docs/lab-book/68-p-correct-knows-kinds.md)."""

_SMALLEST_SHARE: Final = 0.003
"""Shares are clipped here before their log-odds. With log-odds in place of the share itself, simulated candidates gave
an ECE of 0.018 against 0.046 for the chosen answer at K = 8."""

_ALL_SIZES_UP_TO: Final = 16
"""A model for 4 candidates used with 6 is off by 0.06; above 16 one more candidate changes little."""


class ProbabilityModel(CurvedLogistic):
    """P(an answer is right) at one number of candidates: logistic in what `answer_inputs` returns."""

    num_candidates: int
    answers: int = Field(description="distinct answers it was fitted on")
    problem_features: tuple[str, ...] = Field(
        ("steps", "logprob_mean"), description="whose means it reads; releases that do not say so know these two"
    )


def answer_inputs(
    score: CompositeScore, table: CandidateTable, problem_features: Sequence[str] = PROBLEM_FEATURES
) -> Float[Float64, "problems candidates inputs"]:
    """The best score among those who gave the answer, its share of heads, the log-odds of its share of the weighted
    votes, and the problem's mean of each of `problem_features`.
    """
    features, ids = table.features, table.ids
    scores = score.score(features)
    same = ids[:, :, None] == ids[:, None, :]
    best = np.where(same, scores[:, None, :], -np.inf).max(axis=-1)
    # A chain without a score is as bad as the worst one seen; a finite stand-in keeps the logistic finite.
    best = np.where(np.isfinite(best), best, -10.0)
    weighted = vote_shares(ids, vote_weights(scores, score.sharpness))
    votes = [vote_shares(ids), logit(np.clip(weighted, _SMALLEST_SHARE, 1.0 - _SMALLEST_SHARE))]
    # A problem without a value has no answer either: any finite stand-in will do.
    means = [np.nan_to_num(problem_means(features[name])) for name in problem_features]
    problem = [np.broadcast_to(mean[:, None], ids.shape) for mean in means]
    return np.stack([best, *votes, *problem], axis=-1)


def fit_probability(
    score: CompositeScore, table: CandidateTable, correct: Marks, selection: Selection | None = None
) -> tuple[ProbabilityModel, ...]:
    """One model for each number of candidates: the first 1, 2, 3, ... of each problem (powers of 2 above 16).

    Args:
        score: fitted on the same candidates.
        table: the candidates.
        correct: whether each candidate's answer is right.
        selection: fit on the answers that it chooses; None for all distinct answers.
    """
    total = table.num_candidates
    powers = {2**power for power in range(total.bit_length()) if 2**power <= total}
    sizes = sorted({*range(1, min(total, _ALL_SIZES_UP_TO) + 1), *powers, total})
    models = []
    for size in sizes:
        head = CandidateTable(table.features, table.ids).first(size)
        rows = _distinct(head.ids)
        if selection is not None:
            rows &= gives_chosen_answer(Rule(score, selection), head)
        answers = int(rows.sum())
        models.append(
            ProbabilityModel.fit(
                answer_inputs(score, head)[rows],
                correct[:, :size][rows],
                num_candidates=size,
                answers=answers,
                problem_features=PROBLEM_FEATURES,
            )
        )
    return tuple(models)


def gives_chosen_answer(rule: Rule, table: CandidateTable) -> Marks:
    """The candidates that gave the answer which the rule chooses."""
    chosen = rule.apply(table).chosen
    agrees: Marks = (table.ids != NO_ANSWER) & (table.ids == np.take_along_axis(table.ids, chosen[:, None], axis=1))
    return agrees


def _distinct(ids: AnswerIds) -> Marks:
    """One candidate of each distinct answer of a problem: candidates that agree are right or wrong together."""
    repeats = np.tril(ids[:, :, None] == ids[:, None, :], k=-1).any(axis=-1)
    first: Marks = (ids != NO_ANSWER) & ~repeats
    return first
