"""What judging candidates costs: `python -m benchmarks.judging`, a minute, no model.

All methods of the report on frozen candidates, eight a problem, whose numbers are made up: four times the problems may
take at most 15 % more than four times the seconds. And the bootstrap alone, which counts how often each problem was
drawn and multiplies, against one that gathers each resample's problems. CPU seconds of this process, the least of
three.
"""

import time
from collections.abc import Callable
from typing import Final

import numpy as np
import torch

from benchmarks.subject import report
from rjepa.arrays import Float64
from rjepa.evaluation.evaluating import calibrate, evaluate
from rjepa.evaluation.statistics import RESAMPLES, Resamples
from tests.evaluation.conftest import make_pool

FEW: Final = 250
MANY: Final = 1000
COLUMNS: Final = 32
"""About so many accuracies and differences stand in a report."""
TARGETS: Final = {"linear_over_measured": 0.87, "gathering_over_counting": 1.0}
"""The least of: four times the seconds of 250 problems over those of 1 000, and the plain bootstrap's over ours."""


def main() -> None:
    """Measure both, print the figures."""
    torch.set_num_threads(1)
    calibration = calibrate(make_pool(FEW, split="validation", seed=1))
    few, many = (make_pool(problems, seed=10) for problems in (FEW, MANY))
    little = _least(lambda: evaluate(few, calibration, 0))
    much = _least(lambda: evaluate(many, calibration, 0))
    values = np.random.default_rng(0).integers(0, 2, (MANY, COLUMNS)).astype(np.float64)
    counted = _least(lambda: Resamples(MANY, rng=np.random.default_rng(0)).means(values))
    gathered = _least(lambda: _gather(values))
    figures: dict[str, float | str] = {
        f"seconds_of_{FEW}": round(little, 2),
        f"seconds_of_{MANY}": round(much, 2),
        "linear_over_measured": round(MANY / FEW * little / much, 2),
        "gathering_over_counting": round(gathered / counted, 2),
    }
    report("judging", figures, TARGETS)


def _least(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(3):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


def _gather(values: Float64) -> Float64:
    """The mean of each column in each resample, by gathering the rows that were drawn."""
    rng, problems = np.random.default_rng(0), len(values)
    return np.stack([values[rng.integers(0, problems, problems)].mean(axis=0) for _ in range(RESAMPLES)])


if __name__ == "__main__":
    main()
