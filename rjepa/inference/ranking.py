"""Say how each candidate of one problem did, which was chosen, and why: reads a table and a decision, decides none."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from pydantic import Field

from rjepa.arrays import Float64, Int64
from rjepa.inference.calibration import Decision
from rjepa.inference.choice import Reason, Selection
from rjepa.inference.table import CandidateTable
from rjepa.inference.voting import NO_ANSWER, pick, ranks, vote_shares, vote_weights
from rjepa.values import FrozenValue

UNFAMILIAR: Final = (
    "R-JEPA knows no problems like this one: it was left out of the choice, "
    "and how likely the answer is right is unknown."
)


class Standing(FrozenValue):
    """How one candidate did. `score` is None for a chain that has none (it is empty)."""

    rank: int = Field(description="0 for the best score")
    score: float | None
    contributions: dict[str, float] = Field(description="by term; they add up to the score")
    votes: int = Field(description="candidates with the same answer, itself included")
    vote_share: float
    weighted_share: float = Field(description="share of the weighted vote that its answer has")
    p_correct: float | None = Field(description="None where R-JEPA does not know such problems")


class Ranking(FrozenValue):
    """Which candidate was chosen and why."""

    selection: Selection
    chosen: int
    reason: Reason
    runner_up: int | None = Field(description="best candidate with another answer; None if there is none")
    margin: float | None = Field(description="score (best_of) or share of the vote by which the runner-up lost")
    margin_terms: dict[str, float] = Field(description="chosen minus runner-up, by term of the score")
    familiar: bool = Field(description="False where R-JEPA was left out, as it does not know such problems")
    standings: tuple[Standing, ...]
    text: str = Field(description="the reason as an English sentence, and one more where R-JEPA was left out")

    @property
    def order(self) -> list[int]:
        """Indices of the candidates, best score first."""
        return sorted(range(len(self.standings)), key=lambda index: self.standings[index].rank)


def explain(table: CandidateTable, decision: Decision, answers: Sequence[str | None], problem: int = 0) -> Ranking:
    """Explain the choice of one problem.

    Args:
        table: what was chosen from.
        decision: what `ScoreCalibration.decide` made of it.
        answers: final answers of the problem's candidates, for the sentence.
        problem: row of the table.
    """
    rule, familiar = decision.rule_of(problem), bool(decision.familiar[problem])
    ids, scores = table.ids[problem], decision.choice.scores[problem]
    values, chosen = decision.choice.values[problem], int(decision.choice.chosen[problem])
    features = {name: row[problem] for name, row in table.features.items()}
    contributions = rule.score.contributions(features)
    rank, heads = ranks(ids[None], scores[None])[0], vote_shares(ids[None])[0]
    weighted = vote_shares(ids[None], vote_weights(scores[None], rule.score.sharpness))[0]
    standings = tuple(
        Standing(
            rank=int(rank[index]),
            score=_finite(scores[index]),
            contributions={
                name: float(part[index]) for name, part in contributions.items() if np.isfinite(part[index])
            },
            votes=int((ids == ids[index]).sum()) if ids[index] != NO_ANSWER else 0,
            vote_share=float(heads[index]),
            weighted_share=float(weighted[index]),
            p_correct=_finite(decision.p_correct[problem, index]),
        )
        for index in range(len(ids))
    )
    runner_up = _runner_up(ids, values, scores, chosen)
    margin = None if runner_up is None else _finite(values[chosen] - values[runner_up])
    margin_terms: dict[str, float] = {
        name: value
        for name, part in contributions.items()
        if runner_up is not None and (value := _finite(part[chosen] - part[runner_up])) is not None
    }
    reason = _reason(ids, rule.selection)
    ahead = _ahead(runner_up, margin, margin_terms)
    sentence = f"Candidate {chosen + 1}: {_sentence(reason, answers[chosen], standings[chosen], len(ids))}{ahead}."
    return Ranking(
        selection=rule.selection,
        chosen=chosen,
        reason=reason,
        runner_up=runner_up,
        margin=margin,
        margin_terms=margin_terms,
        familiar=familiar,
        standings=standings,
        text=sentence if familiar else f"{sentence} {UNFAMILIAR}",
    )


def _sentence(reason: Reason, answer: str | None, winner: Standing, candidates: int) -> str:
    shown = "no answer" if answer is None else f"answer {answer}"
    return {
        "only_candidate": f"the only candidate ({shown})",
        "no_answer": "no candidate gave an answer; the best scored chain is shown",
        "unanimous": f"every candidate that answered gave the same answer ({answer})",
        "best_score": f"best score ({shown})",
        "most_votes": f"most votes, {winner.votes} of {candidates} ({shown})",
        "most_weight": f"{winner.weighted_share:.0%} of the weighted vote ({shown})",
    }[reason]


def _ahead(runner_up: int | None, margin: float | None, margin_terms: dict[str, float]) -> str:
    if runner_up is None or margin is None:
        return ""
    terms = ", ".join(f"{name} {value:+.2f}" for name, value in margin_terms.items())
    return f", {margin:.2f} ahead of candidate {runner_up + 1}{f' ({terms})' if terms else ''}"


def _runner_up(ids: Int64, values: Float64, scores: Float64, chosen: int) -> int | None:
    others = np.flatnonzero((ids != NO_ANSWER) & (ids != ids[chosen]))
    if not others.size:
        return None
    return int(others[pick(np.zeros((1, others.size), dtype=np.int64), values[None, others], scores[None, others])[0]])


def _reason(ids: Int64, selection: Selection) -> Reason:
    if len(ids) == 1:
        return "only_candidate"
    answers = set(ids[ids != NO_ANSWER].tolist())
    if not answers:
        return "no_answer"
    if len(answers) == 1:
        return "unanimous"
    by_selection: dict[Selection, Reason] = {
        "best_of": "best_score",
        "vote": "most_weight",
        "top_k": "most_votes",
        "majority": "most_votes",
    }
    return by_selection[selection]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
