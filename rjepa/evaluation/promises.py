"""What the risk dial may promise: counted on validation problems, and what came of it on others.

The dial itself is `rjepa.inference.risk`'s.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from pydantic import Field

from rjepa.errors import InvalidInputError
from rjepa.evaluation.pool import CandidatePool
from rjepa.inference.calibrating import fit_calibration
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.risk import RiskTable, count_risk
from rjepa.inference.stopping import Path
from rjepa.values import FrozenValue

ASKED: Final = (0.05, 0.1, 0.15, 0.2, 0.3)
"""Errors that a report shows the dial at."""


class KeptPromise(FrozenValue):
    """How many problems of one domain the dial answers, and how many of the answers are wrong."""

    max_error: float = Field(description="what was asked for")
    domain: str
    problems: int
    answered: float = Field(description="share of the problems")
    error: float | None = Field(description="share of the answers that are wrong; None without an answer")
    tokens: float = Field(description="generated a problem")
    kept: bool = Field(description="the error is at most what was asked for")


def calibrate_risk(pool: CandidatePool, minimum_mixed: int) -> RiskTable:
    """Count on judged validation problems, each under a calibration that was fitted on the other half of them.

    Empty where half of the problems are too few to fit on.
    """
    halves = [np.flatnonzero(np.arange(len(pool)) % 2 == half) for half in (0, 1)]
    parts: list[Path] = []
    order: list[int] = []
    for seen, unseen in (halves, halves[::-1]):
        fitted, judged = pool.select(seen), pool.select(unseen)
        try:
            calibration = fit_calibration(fitted.table, fitted.correct, minimum_mixed=minimum_mixed)
        except InvalidInputError:
            return RiskTable()
        parts.append(Path.of(calibration, judged.table, judged.correct))
        order += unseen.tolist()
    path = Path(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("p_correct", "right", "tokens")))
    return count_risk(path, [pool.problems[index].domain for index in order])


def keep_promises(
    pool: CandidatePool, calibration: ScoreCalibration, asked: Sequence[float] = ASKED
) -> tuple[KeptPromise, ...]:
    """What the dial answers, and how often wrongly, on judged candidates of other problems; by domain and over all."""
    path = Path.of(calibration, pool.table, pool.correct)
    names = np.array([problem.domain for problem in pool.problems])
    masks = {name: names == name for name in pool.domains}
    if len(masks) > 1:
        masks = {"all": np.ones(len(names), dtype=bool)} | masks
    found = []
    for max_error in asked:
        threshold = calibration.risk.threshold(max_error)
        if threshold is None:
            continue
        stop = path.stop_at(threshold)
        for name, mask in masks.items():
            answered = stop.reached & mask
            error = float((~stop.right[answered]).mean()) if answered.any() else None
            found.append(
                KeptPromise(
                    max_error=max_error,
                    domain=name,
                    problems=int(mask.sum()),
                    answered=float(answered.sum() / mask.sum()),
                    error=error,
                    tokens=float(stop.tokens[mask].mean()),
                    kept=error is None or error <= max_error,
                )
            )
    return tuple(found)
