"""Choose one candidate of each problem by a score, by votes, or by votes that the score weighs.

Voting itself lives in `rjepa.inference.voting`, the score in `rjepa.inference.score`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rjepa.inference.score import CompositeScore
from rjepa.inference.table import CandidateTable
from rjepa.inference.voting import NO_ANSWER, AnswerIds, Chosen, Scores, pick, top_k_mask, vote_shares, vote_weights

Selection = Literal["best_of", "vote", "top_k", "majority"]

Reason = Literal["only_candidate", "no_answer", "unanimous", "best_score", "most_votes", "most_weight"]
"""Why a candidate was chosen, in one word; the sentence is made in `rjepa.inference.ranking`."""


@dataclass(frozen=True)
class Rule:
    """How a candidate is chosen: a score and what is done with it. `top_k` matters to that selection alone."""

    score: CompositeScore
    selection: Selection = "best_of"
    top_k: int = 4

    def apply(self, table: CandidateTable) -> "Choice":
        """The choice of each problem of a table."""
        scores = self.score.score(table.features)
        chosen, values = choose(table.ids, scores, self.selection, sharpness=self.score.sharpness, top_k=self.top_k)
        return Choice(chosen, scores, values)


@dataclass(frozen=True)
class Choice:
    """What a rule chose.

    Attributes:
        chosen: index of each problem's candidate.
        scores: higher is better, -inf for a chain without a score.
        values: what the choice was made by: the score, or the share of the votes.
    """

    chosen: Chosen
    scores: Scores
    values: Scores


def choose(
    ids: AnswerIds, scores: Scores, selection: Selection, *, sharpness: float = 1.0, top_k: int = 4
) -> tuple[Chosen, Scores]:
    """Choose one candidate of each problem.

    Args:
        ids: answers, as from `answer_ids`.
        scores: higher is better, -inf for none.
        selection: `best_of` takes the highest score; `majority` counts heads; `vote` weighs heads by
            exp(sharpness * score); `top_k` counts heads among the `top_k` best scored.

    Returns:
        The index of each problem's candidate, and the values the choice was made by.
    """
    if selection == "best_of":
        return pick(ids, scores), scores
    if selection == "majority":
        # Blind to the score: ties go to the answer that came first, so the baseline borrows nothing from it.
        shares = vote_shares(ids)
        return pick(ids, shares), shares
    if selection == "vote":
        shares = vote_shares(ids, vote_weights(scores, sharpness))
    else:
        shares = vote_shares(np.where(top_k_mask(ids, scores, top_k), ids, NO_ANSWER))
    return pick(ids, shares, scores), shares
