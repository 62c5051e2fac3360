"""Every way of choosing an answer from the same candidates, R-JEPA's among them.

A method turns features into a choice; it never sees which candidate is right. Accuracies and intervals are
worked out in `rjepa.evaluation.leaderboard`.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from rjepa.evaluation.pool import CandidatePool
from rjepa.inference.aggregate import Features, FloatArray
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.rerank import CompositeScore, choose
from rjepa.inference.voting import BoolArray, IntArray, vote_shares

Group = Literal["free", "fitted", "rjepa", "ceiling"]


@dataclass(frozen=True)
class Method:
    """One row of the leaderboard: its key, its name for people, and what it needs."""

    key: str
    label: str
    group: Group


METHODS: Final = (
    Method("greedy", "Greedy", "free"),
    Method("mean_at_1", "One sample (mean@1)", "free"),
    Method("majority", "Majority", "free"),
    Method("shortest", "Shortest", "free"),
    Method("logprob_sum", "Log-probability, sum", "free"),
    Method("logprob_mean", "Log-probability, mean", "free"),
    Method("logprob_min", "Log-probability, minimum", "free"),
    Method("logprob_tail", "Log-probability, tail", "free"),
    Method("self_certainty", "Self-certainty", "free"),
    Method("logprob_length", "Log-probability + length", "fitted"),
    Method("logprob_length_vote", "Log-probability + length, weighted vote", "fitted"),
    Method("rjepa", "R-JEPA", "rjepa"),
    Method("rjepa_vote", "R-JEPA, weighted vote", "rjepa"),
    Method("rjepa_logprob", "R-JEPA + log-probability", "rjepa"),
    Method("rjepa_logprob_vote", "R-JEPA + log-probability, weighted vote", "rjepa"),
    Method("oracle", "Oracle (pass@K)", "ceiling"),
)
METHOD: Final = {method.key: method for method in METHODS}

SINGLE_LOGPROB: Final = ("logprob_sum", "logprob_mean", "logprob_min", "logprob_tail")
"""The unfitted log-probability scores: R-JEPA is tested against whichever does best on the test problems themselves."""


@dataclass(frozen=True)
class Choice:
    """What a method chose.

    Attributes:
        method: key of the method.
        correct: float64 `[problems]`: 1 where the chosen answer is right (a mean over samples for mean@1).
        chosen: int64 `[problems]`, or None where no single candidate is chosen.
        scores: float64 `[problems, candidates]`, higher is better, or None where candidates are not scored.
        tokens: float64 `[problems]`, tokens generated to get the answer.
    """

    method: str
    correct: FloatArray
    chosen: IntArray | None
    scores: FloatArray | None
    tokens: FloatArray


@dataclass(frozen=True)
class CandidateTable:
    """A pool's sampled candidates as arrays, `[problems, candidates]` each."""

    features: Features
    ids: IntArray
    correct: BoolArray

    @classmethod
    def of(cls, pool: CandidatePool) -> "CandidateTable":
        return cls(pool.features, pool.ids, pool.correct)

    def first(self, k: int) -> "CandidateTable":
        """Only the first k samples of each problem."""
        features = {name: values[:, :k] for name, values in self.features.items()}
        return CandidateTable(features, self.ids[:, :k], self.correct[:, :k])


def choose_by_each(table: CandidateTable, calibration: ScoreCalibration) -> dict[str, Choice]:
    """The choice of every method that works on samples alone (all but greedy), by key, in the order of `METHODS`."""
    features, heads = table.features, vote_shares(table.ids)
    single = {"shortest": -features["tokens"], "self_certainty": features["self_certainty"]}
    single |= {name: features[name] for name in SINGLE_LOGPROB}
    fitted = {
        "logprob_length": calibration.logprob_length,
        "rjepa": calibration.energy,
        "rjepa_logprob": calibration.combined,
    }
    choices = {
        "mean_at_1": Choice("mean_at_1", table.correct.mean(axis=1), None, None, features["tokens"].mean(axis=1)),
        "majority": _choice(table, "majority", choose(table.ids, heads, "majority")[0], heads),
        "oracle": Choice("oracle", table.correct.any(axis=1).astype(np.float64), None, None, _tokens(table)),
    }
    for name, scores in single.items():
        clean = np.where(np.isfinite(scores), scores, -np.inf)
        choices[name] = _choice(table, name, choose(table.ids, clean, "best_of")[0], clean)
    for name, score in fitted.items():
        choices |= _best_and_vote(table, name, score)
    return {method.key: choices[method.key] for method in METHODS if method.key in choices}


def choose_greedily(pool: CandidatePool) -> Choice:
    """The greedy chain of each problem."""
    return Choice("greedy", pool.greedy_correct.astype(np.float64), None, None, pool.greedy_tokens)


def _best_and_vote(table: CandidateTable, name: str, score: CompositeScore) -> dict[str, Choice]:
    scores = score.score(table.features)
    best, _ = choose(table.ids, scores, "best_of")
    vote, shares = choose(table.ids, scores, "vote", sharpness=score.sharpness)
    return {name: _choice(table, name, best, scores), f"{name}_vote": _choice(table, f"{name}_vote", vote, shares)}


def _choice(table: CandidateTable, name: str, chosen: IntArray, scores: FloatArray) -> Choice:
    correct = np.take_along_axis(table.correct, chosen[:, None], axis=1)[:, 0]
    return Choice(name, correct.astype(np.float64), chosen, scores, _tokens(table))


def _tokens(table: CandidateTable) -> FloatArray:
    return table.features["tokens"].sum(axis=1)
