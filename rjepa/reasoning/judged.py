"""What a mode's candidates came to, before it is put into an answer."""

from dataclasses import dataclass

import numpy as np

from rjepa.inference.ranking import Ranking
from rjepa.inference.table import CandidateTable
from rjepa.reasoning.reading import Reading
from rjepa.schemas import Candidate


@dataclass(frozen=True)
class Judged:
    """Candidates of one question with all that is known of them."""

    candidates: list[Candidate]
    readings: list[Reading]
    table: CandidateTable
    ranking: Ranking

    @property
    def p_correct(self) -> float | None:
        """P(the chosen answer is right); None where R-JEPA knows no such problems."""
        return self.ranking.standings[self.ranking.chosen].p_correct

    def scores(self) -> list[float]:
        """Each candidate's score by the rule that chose; -inf for an empty one."""
        return [-np.inf if one.score is None else one.score for one in self.ranking.standings]
