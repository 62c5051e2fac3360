"""The problems of a dataset most worth labelling, by R-JEPA on its frozen candidates. Nothing is sampled."""

import numpy as np
from pydantic import Field

from rjepa.errors import NotFoundError
from rjepa.evaluation.frozen import open_frozen
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.uncertainty import measure_uncertainty
from rjepa.inference.voting import of_chosen
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.progress import Progress, silent
from rjepa.schemas import Split
from rjepa.values import FrozenValue


class UncertainProblem(FrozenValue):
    """One problem, and why it is worth a label."""

    problem_id: str
    domain: str
    split: str | None
    statement: str
    answer: str | None = Field(description="what would be served")
    answer_gold: str | None
    p_correct: float | None = Field(description="of that answer; None where R-JEPA knows no such problems")
    doubt: float
    disagreement: float
    uncertainty: float = Field(description="mean of doubt and disagreement, 0 to 1")
    answers: int = Field(description="different answers among the candidates")
    num_candidates: int


def most_uncertain(
    home: Home,
    llm_tag: str,
    dataset: str,
    world_model: tuple[RJepa, Reader],
    calibration: ScoreCalibration,
    *,
    limit: int,
    split: Split | None = None,
    progress: Progress = silent,
) -> list[UncertainProblem]:
    """The most uncertain problems first, of one split or of all that have rollouts.

    Raises:
        NotFoundError: there are no rollouts (of this split).
    """
    frozen = open_frozen(home, llm_tag, dataset)
    splits = [name for name in frozen.rollouts if split in (None, name)]
    if not splits:
        raise NotFoundError(
            f"{dataset} has no {split or ''} problems with candidates of {llm_tag}",
            cure=f"choose among {', '.join(frozen.rollouts) or 'other datasets'}",
        )
    found = []
    for name in splits:
        pool = frozen.pool(name, world_model, progress)
        decision = calibration.decide(pool.table)
        chosen = decision.choice.chosen
        given = of_chosen(decision.p_correct, chosen)
        measured = measure_uncertainty(given, pool.ids)
        score = measured.score
        for place in np.argsort(-score, kind="stable")[:limit]:
            problem, winner = pool.problems[place], pool.candidates[place][chosen[place]]
            found.append(
                UncertainProblem(
                    problem_id=problem.problem_id,
                    domain=problem.domain,
                    split=problem.split,
                    statement=problem.statement,
                    answer=winner.final_answer,
                    answer_gold=problem.answer_gold,
                    p_correct=float(given[place]) if np.isfinite(given[place]) else None,
                    doubt=float(measured.doubt[place]),
                    disagreement=float(measured.disagreement[place]),
                    uncertainty=float(score[place]),
                    answers=len(set(pool.ids[place].tolist()) - {-1}),
                    num_candidates=pool.num_candidates,
                )
            )
    return sorted(found, key=lambda row: -row.uncertainty)[:limit]
