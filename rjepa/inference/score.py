"""alpha * logprob + beta * (-energy) + gamma * length: a score as a sum of weighted, standardised features.

The weights arrive from `rjepa.inference.calibrating`; how a score chooses lives in `rjepa.inference.choice`.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from rjepa.arrays import Float64
from rjepa.inference.aggregate import Features
from rjepa.values import FrozenValue

TermName = Literal["logprob", "energy", "length", "rival"]
"""`rival` is a baseline's own score, higher is better; no release has one."""


class ScoreTerm(FrozenValue):
    """One weighted, standardised feature of a score."""

    term: TermName
    feature: str = Field(description="one of rjepa.inference.aggregate.FEATURES")
    weight: float = Field(description="alpha, beta or gamma, per standard deviation")
    center: float = 0.0
    scale: float = Field(1.0, gt=0)

    def contribution(self, features: Features) -> Float[Float64, "*chains"]:
        """What this term adds to the score. Energy counts against a chain, so it enters negated."""
        sign = -1.0 if self.term == "energy" else 1.0
        return self.weight * sign * (features[self.feature] - self.center) / self.scale


class CompositeScore(FrozenValue):
    """A score as a sum of terms, and how sharply it weighs votes."""

    terms: tuple[ScoreTerm, ...] = Field(min_length=1)
    sharpness: float = Field(1.0, ge=0, description="a vote weighs exp(sharpness * score)")

    def weight(self, term: TermName) -> float:
        """The weight of a term, 0 if the score does not use it."""
        return next((part.weight for part in self.terms if part.term == term), 0.0)

    @property
    def alpha(self) -> float:
        """The weight of the log-probability."""
        return self.weight("logprob")

    @property
    def beta(self) -> float:
        """The weight of the energy."""
        return self.weight("energy")

    @property
    def gamma(self) -> float:
        """The weight of the length."""
        return self.weight("length")

    def reweighted(self, **weights: float) -> "CompositeScore":
        """The same score with other weights, by term name: `reweighted(energy=0.0)`.

        Raises:
            ValueError: the score has no such term.
        """
        unknown = set(weights) - {part.term for part in self.terms}
        if unknown:
            raise ValueError(f"no term {sorted(unknown)} in this score; it has {[part.term for part in self.terms]}")
        terms = tuple(part.model_copy(update={"weight": weights.get(part.term, part.weight)}) for part in self.terms)
        return self.model_copy(update={"terms": terms})

    def contributions(self, features: Features) -> dict[TermName, Float[Float64, "*chains"]]:
        """What each term adds."""
        return {part.term: part.contribution(features) for part in self.terms}

    def score(self, features: Features) -> Float[Float64, "*chains"]:
        """The sum of the terms; -inf for a chain that lacks one of the features."""
        total = sum((part.contribution(features) for part in self.terms), start=np.zeros(()))
        return np.where(np.isfinite(total), total, -np.inf)
