"""Which problems are worth a look, with every candidate's steps and energies."""

from typing import Final

import numpy as np

from rjepa.arrays import Float64
from rjepa.evaluation.baselines import Choice
from rjepa.evaluation.leaderboard import markdown_cell
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.results import GalleryCandidate, GalleryItem

EACH_KIND: Final = 2
_LONGEST: Final = 600
"""Characters kept of a statement or a step: a run-away chain must not fill the page."""


def pick_gallery(
    pool: CandidatePool, served: Choice, majority: Choice, p_correct: Float64, scores: Float64
) -> tuple[GalleryItem, ...]:
    """The first problems of each kind: won and lost against majority, and missed by both though a candidate was right.

    Args:
        p_correct: float64 `[problems, candidates]`.
        scores: of R-JEPA + log-probability, same shape.
    """
    ours, theirs, possible = served.correct > 0.5, majority.correct > 0.5, pool.correct.any(axis=1)
    kinds = {"lost": ~ours & theirs, "won": ours & ~theirs, "missed": ~ours & ~theirs & possible}
    return tuple(
        _item(pool, int(index), kind, served, majority, p_correct, scores)
        for kind, mask in kinds.items()
        for index in np.flatnonzero(mask)[:EACH_KIND]
    )


def gallery_markdown(items: tuple[GalleryItem, ...]) -> str:
    """The gallery for an asset's metadata: of each problem the chosen candidate and majority's, energies by step."""
    parts = []
    for item in items:
        lines = [f"**{item.kind}** {item.domain} {item.problem_id}: {markdown_cell(item.statement)}", ""]
        for candidate in item.candidates:
            if candidate.chosen or candidate.chosen_by_majority:
                who = " and ".join(
                    name
                    for name, chose in (("R-JEPA", candidate.chosen), ("majority", candidate.chosen_by_majority))
                    if chose
                )
                verdict = "right" if candidate.is_correct else "wrong"
                lines.append(f"- chosen by {who}, {verdict}, P(correct) {candidate.p_correct:.2f}")
                texts = [*candidate.steps, f"Answer: {candidate.final_answer}"]
                for index, (text, energy) in enumerate(zip(texts, candidate.energies, strict=False)):
                    mark = " **first error**" if index == candidate.first_error_step else ""
                    lines.append(f"  - {energy:.3f} {markdown_cell(text)}{mark}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) or "Nothing was won, lost or missed."


def _item(
    pool: CandidatePool,
    index: int,
    kind: str,
    served: Choice,
    majority: Choice,
    p_correct: Float64,
    scores: Float64,
) -> GalleryItem:
    problem = pool.problems[index]
    candidates = [
        GalleryCandidate(
            sample_index=candidate.sample_index,
            steps=tuple(_cut(step) for step in candidate.steps),
            final_answer=None if candidate.final_answer is None else _cut(candidate.final_answer),
            is_correct=bool(candidate.is_correct),
            first_error_step=candidate.first_error_step,
            reason=candidate.reason,
            energies=tuple(np.nan_to_num(pool.energies[index][position]).tolist()),
            score=float(scores[index, position]) if np.isfinite(scores[index, position]) else None,
            p_correct=float(p_correct[index, position]),
            chosen=served.indices[index] == position,
            chosen_by_majority=majority.indices[index] == position,
        )
        for position, candidate in enumerate(pool.candidates[index])
    ]
    return GalleryItem(
        kind=kind,
        problem_id=problem.problem_id,
        domain=problem.domain,
        statement=_cut(problem.statement),
        answer_gold=problem.answer_gold,
        candidates=tuple(candidates),
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
