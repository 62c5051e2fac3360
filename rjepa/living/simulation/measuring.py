"""One R-JEPA on problems that no gate and no training ever saw: what it would answer, and how it ranks.

Intervals are by the bootstrap over problems.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rjepa.arrays import Bools, Float64
from rjepa.evaluation.baselines import METHOD, JudgedTable, Variant, choose_by_each
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.frozen import energies_of
from rjepa.evaluation.metrics import within_problem_auroc
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.statistics import Resamples, interval
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.latents.rollouts import Rollouts
from rjepa.releases.stage import open_calibrated


@dataclass(frozen=True)
class Measured:
    """Problem by problem: whether the served choice is right, and the within-problem AUROC (NaN where not mixed)."""

    domains: tuple[str, ...]
    right: Bools
    auroc: Float64

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        auroc = [None if np.isnan(value) else float(value) for value in self.auroc]
        return {"domains": list(self.domains), "right": self.right.astype(int).tolist(), "auroc": auroc}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Measured":
        """Those that `to_json` gave."""
        auroc = np.array([np.nan if value is None else value for value in values["auroc"]], dtype=np.float64)
        return cls(tuple(values["domains"]), np.array(values["right"], dtype=bool), auroc)

    def mask(self, domain: str) -> Bools:
        """Which problems are of a domain; all for "all"."""
        return np.array([domain in (ALL, own) for own in self.domains], dtype=bool)


@dataclass(frozen=True)
class Figure:
    """A mean with its 95 % interval; NaN where there is nothing to average."""

    value: float
    low: float
    high: float

    def to_json(self) -> list[float | None]:
        """[value, low, high]."""
        return [None if np.isnan(number) else round(float(number), 4) for number in (self.value, self.low, self.high)]


def measure_release(home: Home, llm_tag: str, release_id: str, rollouts: Rollouts) -> Measured:
    """What a release would answer."""
    world_model, calibration = open_calibrated(home, llm_tag, release_id)
    return measure(world_model, calibration, rollouts)


def measure(world_model: tuple[RJepa, Reader], calibration: ScoreCalibration, rollouts: Rollouts) -> Measured:
    """What an R-JEPA with its calibration would answer on frozen candidates."""
    pool = CandidatePool.from_rollouts(rollouts, energies_of(world_model, rollouts.latents)).judged()
    table = JudgedTable.of(pool)
    variant = Variant(METHOD["rjepa"], table, calibration)
    served = choose_by_each(table, calibration)[variant.served.key]
    scores = calibration.energy.score(table.features)
    return Measured(
        tuple(problem.domain for problem in pool.problems),
        served.correct > 0.5,
        within_problem_auroc(scores, table.correct),
    )


def mean_of(values: npt.NDArray[Any], seed: int = 0) -> Figure:
    """The mean over problems; those without a value are left out."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return Figure(float("nan"), float("nan"), float("nan"))
    resampled = Resamples(len(known), rng=np.random.default_rng(seed)).means(known[:, None])
    (low,), (high,) = interval(resampled)
    return Figure(float(known.mean()), float(low), float(high))


def difference(ours: Measured, theirs: Measured, domain: str) -> Figure:
    """Accuracy of one minus that of the other on the same problems."""
    mask = ours.mask(domain)
    return mean_of(ours.right[mask].astype(np.float64) - theirs.right[mask].astype(np.float64))
