"""How sure a guided answer is: chains of validation problems that R-JEPA guided, and what is fitted to them.

P(correct) of chains that the student wrote alone does not hold for them: they look as expected, right or wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rjepa.errors import InvalidInputError
from rjepa.evaluation.evaluating import calibrate
from rjepa.evaluation.pool import CandidatePool
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.choice import Choice, Rule
from rjepa.inference.voting import of_chosen
from rjepa.progress import Progress, silent
from rjepa.reasoning.answering import finish_statements
from rjepa.reasoning.judged import Judged
from rjepa.reasoning.question import ask
from rjepa.reasoning.tools import Parts
from rjepa.sampling.protocol import ChainSource
from rjepa.schemas import Candidate, Problem
from rjepa.validation.judge import judge
from rjepa.verbalizer.guiding import GuidanceSettings, GuidedChoice

SEVERAL: Final = 8
"""Guided candidates of a problem that P(correct) is fitted to: as many as are drawn at most until an answer is sure."""

FITTED_ON: Final = 750
"""Validation problems that it is fitted to, all that v1.0.0 has: ten minutes of a core."""

_TOGETHER: Final = 40
"""Problems in one decoding session, with all their candidates."""


def guided_pool(
    source: ChainSource,
    parts: Parts,
    problems: Sequence[Problem],
    num_candidates: int,
    seed: int = 0,
    progress: Progress = silent,
) -> CandidatePool:
    """Write guided candidates of problems, as mode `nudge` does by the settings of `parts.guidance`, and judge them:
    the first of each is the greedy chain.

    Args:
        num_candidates: of a problem.
        seed: of the questions.
    """
    found: list[Judged] = []
    for first in range(0, len(problems), _TOGETHER):
        part = problems[first : first + _TOGETHER]
        questions = [ask(one.statement, "nudge", {"num_candidates": num_candidates}, seed=seed) for one in part]
        found += [done.judged for done in finish_statements(source, parts, questions) if done.judged is not None]
        progress(len(found), len(problems), f"{num_candidates} guided candidates")
    candidates = [_with_verdicts(*one) for one in zip(problems, found, strict=True)]
    return CandidatePool(
        problems=problems,
        candidates=candidates,
        greedy=[row[0] for row in candidates],
        energies=[[np.array(reading.energies) for reading in judged.readings] for judged in found],
    )


@dataclass(frozen=True)
class GuidedFit:
    """What is known of chains that are guided by settings. `calibration`: None where validation problems were too few
    to fit one to.
    """

    settings: GuidanceSettings
    calibration: ScoreCalibration | None


def fit_guided(settings: GuidanceSettings, pool: CandidatePool, alone: ScoreCalibration) -> GuidedFit:
    """Fit to guided candidates how sure an answer is, and find out what they are best chosen among by.

    Args:
        pool: guided by `settings`, of validation problems.
        alone: fitted to chains that the student wrote alone. How surprising a step is keeps its scale: explanations and
            energy bars say the same of every mode's steps.
    """
    fitted: ScoreCalibration | None
    try:
        fitted = calibrate(pool)
    except InvalidInputError:
        fitted = None
        by_energy = Rule(alone.combined, "best_of").apply(pool.table)
    else:
        steps = ("step_threshold", "step_quantiles", "step_energies")
        fitted = fitted.model_copy(update={name: getattr(alone, name) for name in steps})
        by_energy = fitted.decide(pool.table).choice
    by_logprob = Rule((fitted or alone).logprob_length, "vote").apply(pool.table)
    chosen_by: dict[GuidedChoice, Choice] = {"logprob": by_logprob, "energy": by_energy}
    right = {name: float(of_chosen(pool.correct, choice.chosen).mean()) for name, choice in chosen_by.items()}
    tried = {f"{pool.num_candidates} candidates, by {name}": share for name, share in right.items()}
    best = max(right, key=lambda one: right[one])
    return GuidedFit(settings.model_copy(update={"choice": best, "tried": {**settings.tried, **tried}}), fitted)


def _with_verdicts(problem: Problem, judged: Judged) -> list[Candidate]:
    return [
        one.model_copy(
            update={
                "problem_id": problem.problem_id,
                **judge(problem, one.steps, one.final_answer).model_dump(
                    include={"is_correct", "is_valid", "first_error_step", "reason"}
                ),
            }
        )
        for one in judged.candidates
    ]
