"""Which problems are most worth a label: where R-JEPA does not know whether the answer is right, and samples disagree.

Pure functions. Dimensions: problems, candidates of each. Where P(correct) comes from: `rjepa.inference.calibration`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import entr

from rjepa.arrays import Float64
from rjepa.inference.voting import NO_ANSWER, AnswerIds, vote_shares

PerProblem = Float[Float64, " problems"]


@dataclass(frozen=True)
class Uncertainty:
    """Per problem, from 0 to 1.

    doubt: entropy in bits of P(correct) of the chosen answer: 1 at one half, 0 where it is surely right or wrong;
        1 too where P(correct) is unknown.
    disagreement: entropy of the candidates' votes over their answers, as a share of its largest value, log K. A
        candidate without an answer is a vote of its own.
    score: the mean of the two. What R-JEPA doubts and what the student is divided on are different things: a
        unanimous answer may be wrong, and a divided one clear to R-JEPA.
    """

    doubt: PerProblem
    disagreement: PerProblem

    @property
    def score(self) -> PerProblem:
        return (self.doubt + self.disagreement) / 2.0


def measure_uncertainty(p_correct: PerProblem, ids: AnswerIds) -> Uncertainty:
    """Uncertainty of each problem.

    Args:
        p_correct: P(the chosen answer is right); NaN where it is unknown.
        ids: which candidates agree, as from `rjepa.inference.voting.answer_ids`.
    """
    given = np.where(np.isnan(p_correct), 0.5, p_correct)
    doubt = (entr(given) + entr(1.0 - given)) / np.log(2.0)
    total = ids.shape[1]
    alone = np.arange(total) + total  # beyond every answer's number
    votes = vote_shares(np.where(ids == NO_ANSWER, alone, ids))
    # Each of the n candidates of an answer holds its share n / K: -log of it, averaged over candidates, is the entropy.
    entropy = -np.log(votes).mean(axis=1)
    return Uncertainty(doubt, entropy / np.log(total) if total > 1 else np.zeros_like(entropy))
