"""The table of candidates that everything about a choice is read from: features, and which answers agree.

It is made once per question or per set of frozen problems. Scores, votes, P(correct) and explanations read it and make
no features of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool

from rjepa.arrays import Bools
from rjepa.inference.aggregate import Features, chain_features
from rjepa.inference.voting import NO_ANSWER, AnswerIds, answer_ids
from rjepa.schemas import Candidate


@dataclass(frozen=True)
class CandidateTable:
    """P problems with K candidates each.

    Attributes:
        features: each of `rjepa.inference.aggregate.FEATURES`, of each candidate; further ones may be added by
            name.
        ids: which candidates of a problem agree, as from `answer_ids`.
    """

    features: Features
    ids: AnswerIds

    @classmethod
    def of_question(cls, candidates: Sequence[Candidate], energies: Sequence[npt.ArrayLike]) -> "CandidateTable":
        """The table of one problem.

        Args:
            candidates: at least one.
            energies: of each candidate the energies of its segments 1.., in the same order.

        Raises:
            ValueError: there is no candidate, or the lists differ in length.
        """
        if not candidates:
            raise ValueError("at least one candidate is needed")
        features = {name: values[None] for name, values in chain_features(candidates, energies).items()}
        return CandidateTable(features, answer_ids([[candidate.final_answer for candidate in candidates]]))

    @property
    def num_candidates(self) -> int:
        """K."""
        return int(self.ids.shape[1])

    def part(self, start: int, stop: int) -> Self:
        """The table of the candidates with sample indices `start` to `stop`."""
        arrays = {name: value[:, start:stop] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        features = {name: values[:, start:stop] for name, values in self.features.items()}
        return type(self)(features=features, **arrays)

    def without(self, unfinished: Bool[Bools, " candidates"]) -> Self:
        """The table in which these candidates of every problem count for nothing: neither features nor an answer."""
        features = {name: np.where(unfinished, np.nan, values) for name, values in self.features.items()}
        return replace(self, features=features, ids=np.where(unfinished, NO_ANSWER, self.ids))

    def row(self, problem: int) -> "CandidateTable":
        """The table of one problem."""
        features = {name: values[problem : problem + 1] for name, values in self.features.items()}
        return CandidateTable(features, self.ids[problem : problem + 1])

    def first(self, count: int) -> Self:
        """The table of the first `count` candidates."""
        return self.part(0, count)
