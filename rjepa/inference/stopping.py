"""Candidates one at a time: after each, what would be chosen, how likely it is right, and whether that is enough.

On frozen candidates this costs nothing: a policy that only chooses when to stop is replayed, not run. What may be
promised of such a policy belongs to `rjepa.inference.risk`.

Dimensions: problems, and the candidates of each in the order in which they are drawn.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from rjepa.arrays import Bools, Float64, Int64
from rjepa.inference.table import CandidateTable
from rjepa.inference.voting import NO_ANSWER, Chosen, Marks, Scores, of_chosen
from rjepa.tails import chance_to_stay_ahead

STABLE: Final = 0.95
"""A vote is over once the leading answer stays ahead with this chance: the value that Aggarwal et al. use."""


class Decided(Protocol):
    """What is asked of a `rjepa.inference.calibration.Decision`."""

    @property
    def p_correct(self) -> Scores: ...
    @property
    def chosen(self) -> Chosen: ...


class Decides(Protocol):
    """A `rjepa.inference.calibration.ScoreCalibration`."""

    def decide(self, table: CandidateTable) -> Decided: ...


@dataclass(frozen=True)
class Stop:
    """Where a policy stopped.

    Attributes:
        drawn: candidates that were drawn of each problem.
        reached: whether it stopped because it was sure enough, and not because there were no more.
        right: whether the answer chosen there is right.
        tokens: generated up to there.
    """

    drawn: Int[Int64, " problems"]
    reached: Bool[Bools, " problems"]
    right: Bool[Bools, " problems"]
    tokens: Float[Float64, " problems"]


@dataclass(frozen=True)
class Path:
    """After each candidate: P(the answer chosen so far is right), whether it is, and tokens so far.

    P(correct) is NaN where R-JEPA does not know such problems.
    """

    p_correct: Scores
    right: Marks
    tokens: Scores

    @classmethod
    def of(cls, calibration: Decides, table: CandidateTable, correct: Marks) -> "Path":
        """Decide after each candidate.

        Args:
            correct: whether each candidate's answer is right.
        """
        chances, right = [], []
        for count in range(1, table.num_candidates + 1):
            decision = calibration.decide(table.first(count))
            chances.append(of_chosen(decision.p_correct, decision.chosen))
            right.append(of_chosen(correct[:, :count], decision.chosen))
        tokens = np.cumsum(np.nan_to_num(table.features["tokens"]), axis=1)
        return cls(np.stack(chances, axis=1), np.stack(right, axis=1), tokens)

    def stop_at(self, threshold: float) -> Stop:
        """Stop at the first candidate after which P(correct) is at least `threshold`; at the last one else."""
        return self._stop(self.p_correct >= threshold)

    def stop_after(self, count: int) -> Stop:
        """Draw so many of each problem."""
        enough = np.zeros(self.right.shape, dtype=bool)
        enough[:, count - 1] = True
        return self._stop(enough)

    def _stop(self, enough: Marks) -> Stop:
        reached = enough.any(axis=1)
        last = np.where(reached, enough.argmax(axis=1), enough.shape[1] - 1)
        rows = np.arange(len(enough))
        return Stop(last + 1, np.asarray(reached), self.right[rows, last], self.tokens[rows, last])


def is_stable(ids: Int[Int64, " candidates"]) -> bool:
    """Whether a vote is decided: the leading answer stays ahead of the next with chance `STABLE`.

    Adaptive consistency (Aggarwal, Madaan, Yang, Mausam, EMNLP 2023): with v and w votes for the two leading answers,
    the first stays ahead with chance P(Beta(v + 1, w + 1) > 1/2).
    """
    counts = np.sort(np.bincount(ids[ids != NO_ANSWER], minlength=2))[::-1]
    return chance_to_stay_ahead(counts[0], counts[1]) >= STABLE
