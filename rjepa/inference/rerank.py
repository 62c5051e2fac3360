"""alpha * logprob + beta * (-energy) + gamma * length: score candidates, choose one, say why.

The weights arrive from `rjepa.inference.calibration`; the voting rules live in `rjepa.inference.voting`.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from rjepa.inference.aggregate import FEATURES, Features, FloatArray, chain_features
from rjepa.inference.voting import NO_ANSWER, IntArray, answer_ids, pick, ranks, top_k_mask, vote_shares, vote_weights
from rjepa.schemas import Candidate

Selection = Literal["best_of", "vote", "top_k", "majority"]
TermName = Literal["logprob", "energy", "length", "rival"]
"""`rival` is a baseline's own score, higher is better; no release has one."""

Reason = Literal["only_candidate", "no_answer", "unanimous", "best_score", "most_votes", "most_weight"]


UNFAMILIAR: Final = (
    "R-JEPA knows no problems like this one: it was left out of the choice, "
    "and how likely the answer is right is unknown."
)


class FrozenValue(BaseModel):
    """Base of the plain values of this room: immutable, no unknown fields, no NaN in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ScoreTerm(FrozenValue):
    """One weighted, standardised feature of a score."""

    term: TermName
    feature: str = Field(description="one of rjepa.inference.aggregate.FEATURES")
    weight: float = Field(description="alpha, beta or gamma, per standard deviation")
    center: float = 0.0
    scale: float = Field(1.0, gt=0)

    def contribution(self, features: Features) -> FloatArray:
        """What this term adds to the score, any shape. Energy counts against a chain, so it enters negated."""
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
        return self.weight("logprob")

    @property
    def beta(self) -> float:
        return self.weight("energy")

    @property
    def gamma(self) -> float:
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

    def score(self, features: Features) -> FloatArray:
        """float64 of the features' shape; -inf for a chain that lacks one of the features."""
        total = sum(part.contribution(features) for part in self.terms)
        return np.where(np.isfinite(total), total, -np.inf)


class RankedCandidate(FrozenValue):
    """How one candidate did. `score` is None for a chain that has none (it is empty)."""

    index: int = Field(description="position in the list of candidates given")
    rank: int = Field(description="0 for the best score")
    score: float | None
    contributions: dict[str, float] = Field(description="by term; they add up to the score")
    features: dict[str, float] = Field(description="those with a value")
    final_answer: str | None
    votes: int = Field(description="candidates with the same answer, itself included")
    vote_share: float
    weighted_share: float
    energies: list[float] = Field(description="of segments 1.., the answer line last")
    p_correct: float | None = None


class Ranking(FrozenValue):
    """Which candidate was chosen and why: the chat inspector's data."""

    selection: Selection
    chosen: int
    reason: Reason
    runner_up: int | None = Field(description="best candidate with another answer; None if there is none")
    margin: float | None = Field(description="score (best_of) or share of the vote by which the runner-up lost")
    margin_terms: dict[str, float] = Field(description="chosen minus runner-up, by term of the score")
    candidates: tuple[RankedCandidate, ...]
    familiar: bool = Field(True, description="False where R-JEPA was left out, as it does not know such problems")

    @property
    def order(self) -> list[int]:
        """Indices of the candidates, best score first."""
        return [item.index for item in sorted(self.candidates, key=lambda item: item.rank)]

    def describe(self) -> str:
        """The reason as an English sentence, and one more where R-JEPA was left out."""
        winner = self.candidates[self.chosen]
        answer = "no answer" if winner.final_answer is None else f"answer {winner.final_answer}"
        sentence = {
            "only_candidate": f"the only candidate ({answer})",
            "no_answer": "no candidate gave an answer; the best scored chain is shown",
            "unanimous": f"every candidate that answered gave the same answer ({winner.final_answer})",
            "best_score": f"best score ({answer})",
            "most_votes": f"most votes, {winner.votes} of {len(self.candidates)} ({answer})",
            "most_weight": f"{winner.weighted_share:.0%} of the weighted vote ({answer})",
        }[self.reason]
        told = f"Candidate {self.chosen + 1}: {sentence}"
        if self.runner_up is not None and self.margin is not None:
            terms = ", ".join(f"{name} {value:+.2f}" for name, value in self.margin_terms.items())
            told += f", {self.margin:.2f} ahead of candidate {self.runner_up + 1}{f' ({terms})' if terms else ''}"
        return f"{told}." if self.familiar else f"{told}. {UNFAMILIAR}"


def choose(
    ids: IntArray, scores: FloatArray, selection: Selection, *, sharpness: float = 1.0, top_k: int = 4
) -> tuple[IntArray, FloatArray]:
    """Choose one candidate of each problem.

    Args:
        ids: answers, as from `answer_ids`, `[problems, candidates]`.
        scores: higher is better, -inf for none, `[problems, candidates]`.
        selection: `best_of` takes the highest score; `majority` counts heads; `vote` weighs heads by
            exp(sharpness * score); `top_k` counts heads among the `top_k` best scored.

    Returns:
        Indices int64 `[problems]`, and the values the choice was made by, float64 `[problems, candidates]`.
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


def rank_candidates(
    candidates: Sequence[Candidate],
    energies: Sequence[npt.ArrayLike],
    score: CompositeScore,
    *,
    selection: Selection = "best_of",
    top_k: int = 4,
) -> Ranking:
    """Rank the candidates of one problem and choose one.

    Args:
        candidates: at least one.
        energies: for each candidate the energies of its segments 1..

    Raises:
        ValueError: no candidate, or the lists differ in length.
    """
    if not candidates:
        raise ValueError("at least one candidate is needed")
    features = chain_features(candidates, energies)
    ids = answer_ids([[candidate.final_answer for candidate in candidates]])
    scores = score.score(features)[None]
    chosen_row, values = choose(ids, scores, selection, sharpness=score.sharpness, top_k=top_k)
    chosen, rank = int(chosen_row[0]), ranks(ids, scores)[0]
    heads, weighted = vote_shares(ids)[0], vote_shares(ids, vote_weights(scores, score.sharpness))[0]
    contributions = {part.term: part.contribution(features) for part in score.terms}
    ranked = tuple(
        RankedCandidate(
            index=index,
            rank=int(rank[index]),
            score=_finite(scores[0, index]),
            contributions={
                name: float(part[index]) for name, part in contributions.items() if np.isfinite(part[index])
            },
            features={name: float(features[name][index]) for name in FEATURES if np.isfinite(features[name][index])},
            final_answer=candidate.final_answer,
            votes=int((ids[0] == ids[0, index]).sum()) if ids[0, index] != NO_ANSWER else 0,
            vote_share=float(heads[index]),
            weighted_share=float(weighted[index]),
            energies=[float(value) for value in np.nan_to_num(np.asarray(energies[index], dtype=np.float64).ravel())],
        )
        for index, candidate in enumerate(candidates)
    )
    runner_up = _runner_up(ids[0], values[0], scores[0], chosen)
    margin = None if runner_up is None else _finite(values[0, chosen] - values[0, runner_up])
    margin_terms = {
        name: value
        for name, part in contributions.items()
        if runner_up is not None and (value := _finite(part[chosen] - part[runner_up])) is not None
    }
    return Ranking(
        selection=selection,
        chosen=chosen,
        reason=_reason(ids[0], selection),
        runner_up=runner_up,
        margin=margin,
        margin_terms=margin_terms,
        candidates=ranked,
    )


def _runner_up(ids: IntArray, values: FloatArray, scores: FloatArray, chosen: int) -> int | None:
    others = np.flatnonzero((ids != NO_ANSWER) & (ids != ids[chosen]))
    if not others.size:
        return None
    return int(others[pick(np.zeros((1, others.size), dtype=np.int64), values[None, others], scores[None, others])[0]])


def _reason(ids: IntArray, selection: Selection) -> Reason:
    if len(ids) == 1:
        return "only_candidate"
    answers = set(ids[ids != NO_ANSWER].tolist())
    if not answers:
        return "no_answer"
    if len(answers) == 1:
        return "unanimous"
    return {"best_of": "best_score", "vote": "most_weight", "top_k": "most_votes", "majority": "most_votes"}[selection]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
