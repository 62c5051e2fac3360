"""P(correct) of chains that are not whole yet: fitted on validation candidates, and judged after every step.

The model is `rjepa.inference.prefix`'s; here are the candidates it learns from and how well it comes true.
"""

from collections.abc import Sequence

import numpy as np

from rjepa.arrays import Float64
from rjepa.evaluation.metrics import expected_calibration_error
from rjepa.evaluation.pool import CandidatePool
from rjepa.inference.prefix import (
    FEWEST_CHAINS,
    MOST_STEPS,
    PrefixCalibration,
    PrefixModel,
    StepReliability,
    candidate_prefixes,
    fit_prefixes,
)

Prefixes = list[list[Float64]]
"""Of each chain, the inputs of the model after each of its steps."""


def calibrate_prefixes(pool: CandidatePool) -> PrefixCalibration:
    """Fit on judged candidates of validation problems; judge each half of the problems by the other half's models."""
    prefixes, right = _prefixes(pool), pool.correct.ravel()
    halves = np.repeat(np.arange(len(pool)) % 2, pool.num_candidates)
    parts: list[tuple[Sequence[PrefixModel], Prefixes, np.ndarray]] = []
    for half in (0, 1):
        seen, unseen = np.flatnonzero(halves == half), np.flatnonzero(halves != half)
        models = fit_prefixes([prefixes[index] for index in seen], right[seen])
        parts.append((models, [prefixes[index] for index in unseen], right[unseen]))
    return PrefixCalibration(models=fit_prefixes(prefixes, right), reliability=_judge(parts))


def judge_prefixes(pool: CandidatePool, calibration: PrefixCalibration) -> tuple[StepReliability, ...]:
    """How well P(correct) after each step comes true on the candidates of other problems."""
    return _judge([(calibration.models, _prefixes(pool), pool.correct.ravel())])


def _prefixes(pool: CandidatePool) -> Prefixes:
    return [
        candidate_prefixes(candidate, energies)
        for row, each in zip(pool.candidates, pool.energies, strict=True)
        for candidate, energies in zip(row, each, strict=True)
    ]


def _judge(parts: Sequence[tuple[Sequence[PrefixModel], Prefixes, np.ndarray]]) -> tuple[StepReliability, ...]:
    """Join what several models say of the chains that each is asked about."""
    found = []
    for steps in range(1, MOST_STEPS + 1):
        predicted, came = [], []
        for models, prefixes, right in parts:
            model = next((one for one in reversed(models) if one.steps <= steps), None)
            rows = [index for index, chain in enumerate(prefixes) if len(chain) >= steps]
            if model is None or not rows:
                continue
            predicted.append(model.probability(np.stack([prefixes[index][steps - 1] for index in rows])))
            came.append(right[rows])
        count = sum(map(len, predicted))
        if count < FEWEST_CHAINS:
            break
        chances, truth = np.concatenate(predicted), np.concatenate(came)
        found.append(
            StepReliability(
                steps=steps,
                chains=count,
                right=float(truth.mean()),
                predicted=float(chances.mean()),
                ece=expected_calibration_error(chances, truth),
            )
        )
    return tuple(found)
