"""P(correct) of an answer, from its score, its votes, and how hard its problem looks.

Answers, not candidates, are right or wrong: candidates that agree share one probability. The chosen answer has a model
of its own: an answer that came first of eight is right more often than one with the same score and votes that did not
(docs/lab-book/19-p-correct-of-the-chosen-answer.md). The score itself is fitted in `rjepa.inference.calibrating`.

Dimensions: problems, and the candidates of each; answers picked from them; inputs of the logistic.
"""

from typing import Final

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

from rjepa.inference.aggregate import FloatArray, problem_means
from rjepa.inference.choice import Rule, Selection
from rjepa.inference.fitting import fit_logistic
from rjepa.inference.score import CompositeScore
from rjepa.inference.table import CandidateTable
from rjepa.inference.voting import NO_ANSWER, AnswerIds, BoolArray, Marks, vote_shares, vote_weights
from rjepa.values import FrozenValue

PROBLEM_FEATURES: Final = ("steps", "logprob_mean")
"""Their means over a problem's candidates say how hard it is, which no score does that is made to compare candidates of
one problem: cross-validated, they took 6 to 8 % off the Brier score
(docs/lab-book/37-p-correct-knows-difficulty.md)."""

_SMALLEST_SHARE: Final = 0.003
"""Shares are clipped here before their log-odds. With log-odds in place of the share itself, simulated candidates gave
an ECE of 0.018 against 0.046 for the chosen answer at K = 8."""

_ANSWERS_A_BIN: Final = 100
_MAX_BINS: Final = 15
_MIN_BINS: Final = 3
"""Answers a bin, and bins, of the curve over the logistic. Cross-validated, it took the ECE of chosen answers from
0.035 to 0.012 on 3 000 problems and from 0.040 to 0.024 on 750 (docs/lab-book/33-curve-of-p-correct.md)."""

_ALL_SIZES_UP_TO: Final = 16
"""A model for 4 candidates used with 6 is off by 0.06; above 16 one more candidate changes little."""


class ProbabilityModel(FrozenValue):
    """P(an answer is right) at one number of candidates: logistic in what `answer_inputs` returns."""

    num_candidates: int
    weights: tuple[float, ...] = Field(description="of the inputs in their order")
    centers: tuple[float, ...]
    scales: tuple[float, ...]
    intercept: float
    curve: tuple[tuple[float, float], ...] = Field(
        (), description="(logistic, found) probabilities, ascending: the logistic is mapped along them; none: as it is"
    )
    answers: int = Field(description="distinct answers it was fitted on")

    def probability(self, inputs: Float[FloatArray, "*answers inputs"]) -> Float[FloatArray, "*answers"]:
        """P(right) of each answer."""
        standardised = (inputs - np.array(self.centers)) / np.array(self.scales)
        logistic: FloatArray = expit(standardised @ np.array(self.weights) + self.intercept)
        return np.interp(logistic, *np.array(self.curve).T) if self.curve else logistic


def answer_inputs(score: CompositeScore, table: CandidateTable) -> Float[FloatArray, "problems candidates 5"]:
    """The best score among those who gave the answer, its share of heads, the
    log-odds of its share of the weighted votes, and the problem's mean of each of `PROBLEM_FEATURES`.
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
    means = [np.nan_to_num(problem_means(features[name])) for name in PROBLEM_FEATURES]
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
        models.append(_fit_one(size, answer_inputs(score, head)[rows], correct[:, :size][rows]))
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


def _fit_one(
    size: int, inputs: Float[FloatArray, "answers inputs"], correct: Bool[BoolArray, " answers"]
) -> ProbabilityModel:
    centers = inputs.mean(axis=0) if len(inputs) else np.zeros(inputs.shape[-1])
    spread = inputs.std(axis=0) if len(inputs) else np.ones(inputs.shape[-1])
    scales = np.where(spread > 1e-9, spread, 1.0)
    weights, intercept = fit_logistic((inputs - centers) / scales, correct)
    model = ProbabilityModel(
        num_candidates=size,
        weights=tuple(weights.tolist()),
        centers=tuple(centers.tolist()),
        scales=tuple(scales.tolist()),
        intercept=intercept,
        answers=len(inputs),
    )
    return model.model_copy(update={"curve": _fit_curve(model.probability(inputs), correct)})


def _fit_curve(
    predicted: Float[FloatArray, " answers"], correct: Bool[BoolArray, " answers"]
) -> tuple[tuple[float, float], ...]:
    """Monotone, through the means of predicted and found in bins of equal size, and through 0 and 1."""
    bins = min(_MAX_BINS, len(predicted) // _ANSWERS_A_BIN)
    if bins < _MIN_BINS:
        return ()
    parts = np.array_split(np.argsort(predicted, kind="stable"), bins)
    found = isotonic_regression([correct[part].mean() for part in parts]).x
    middle = zip((float(predicted[part].mean()) for part in parts), found.tolist(), strict=True)
    return ((0.0, 0.0), *middle, (1.0, 1.0))
