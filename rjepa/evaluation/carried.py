"""What an R-JEPA that was carried to another student is worth there, against one that was trained on its own latents.

Every way to get energies is judged on the same frozen candidates of the target: calibrated on validation problems,
measured on test problems, compared in pairs over the same resamples of problems. How adapters are fitted is
`rjepa.adapters`; which ways are compared is up to who calls (`benchmarks/adapters.py`).

Dimensions: test problems, candidates of each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rjepa.arrays import Float64, Int64
from rjepa.evaluation.baselines import JudgedTable
from rjepa.evaluation.evaluating import calibrate
from rjepa.evaluation.first_error import first_error_steps
from rjepa.evaluation.measures import judged_steps
from rjepa.evaluation.metrics import expected_calibration_error, pass_at_k, within_problem_auroc
from rjepa.evaluation.pool import CandidatePool, RolloutsLike
from rjepa.evaluation.statistics import Resamples, interval
from rjepa.inference.choice import Rule
from rjepa.inference.voting import of_chosen
from rjepa.values import FrozenValue

_RESAMPLES: Final = 2000
_COSTLY_RESAMPLES: Final = 200
"""Of figures that are no mean over problems and are computed anew in each resample."""


class Estimate(FrozenValue):
    """A figure with its 95 % interval over problems."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class OriginEnergies:
    """Energies of one origin: one array a sampled chain, of the validation and of the test candidates."""

    name: str
    validation: Sequence[npt.ArrayLike]
    test: Sequence[npt.ArrayLike]


class WayWorth(FrozenValue):
    """What one way is worth on the target's test problems."""

    name: str
    feature: str = Field(description="how step energies become one of a chain: the best one on validation problems")
    auroc: Estimate = Field(description="within-problem AUROC of energy alone")
    accuracy: Estimate = Field(description="of the answer chosen by energy, log-probability and length")
    gap_closed: Estimate = Field(description="the same: 0 at mean@1, 1 at pass@K")
    first_error: Estimate = Field(description="AUROC of first wrong steps above right ones")
    ece: Estimate = Field(description="of P(correct)")


class Kept(FrozenValue):
    """One way against another on the same problems."""

    way: str
    against: str
    difference: Estimate = Field(description="of the within-problem AUROCs")
    ratio: Estimate = Field(description="of the same")
    first_error_difference: Estimate = Field(description="of the AUROCs of first wrong steps")
    first_error_ratio: Estimate = Field(description="of the same")


@dataclass(frozen=True)
class Judged:
    """A way's figures, and what comparisons need.

    Attributes:
        worth: the figures.
        auroc: in each test problem, float64 [problems]; NaN where not mixed.
        first_error: AUROC of first wrong steps in each resample, float64; of equal resamples for equal seeds.
    """

    worth: WayWorth
    auroc: Float64
    first_error: Float64


def judge_way(way: OriginEnergies, validation: RolloutsLike, test: RolloutsLike, seed: int = 0) -> Judged:
    """Calibrate on validation candidates, measure on test candidates.

    Args:
        seed: of the resamples; ways that are to be compared need the same.

    Raises:
        InvalidInputError: too few validation problems have both right and wrong candidates.
        ValueError: energies and candidates do not belong together, or the splits are others.
    """
    calibration = calibrate(CandidatePool.from_rollouts(validation, way.validation))
    pool = CandidatePool.from_rollouts(test, way.test).judged()
    if wrong := {problem.split for problem in pool.problems} - {"test", None}:
        raise ValueError(f"worth is measured on test problems, found {sorted(map(str, wrong))}")
    auroc = within_problem_auroc(calibration.energy.score(pool.features), pool.correct)
    table = JudgedTable.of(pool)
    chosen = Rule(calibration.combined, calibration.selection).apply(table).chosen
    right = of_chosen(pool.correct, chosen).astype(np.float64)
    told = of_chosen(calibration.p_correct(table), chosen)
    resamples = Resamples(len(pool), rng=np.random.default_rng(seed), resamples=_RESAMPLES)
    single = pool.correct.mean(axis=1).astype(np.float64)
    columns = np.stack([auroc, right, single, pass_at_k(pool.correct, pool.num_candidates)], axis=1)
    drawn, means = resamples.means(columns), np.nanmean(columns, axis=0)
    first_error = _over_problems(pool, _first_error(pool), seed)
    ece = _over_problems(pool, lambda rows: expected_calibration_error(told[rows], right[rows] > 0.5), seed)
    worth = WayWorth(
        name=way.name,
        feature=calibration.energy.terms[0].feature,
        auroc=_estimate(means[0], drawn[:, 0]),
        accuracy=_estimate(means[1], drawn[:, 1]),
        gap_closed=_estimate(_gap(means), _gap(drawn.T)),
        first_error=_estimate(*first_error),
        ece=_estimate(*ece),
    )
    return Judged(worth, auroc, first_error[1])


def compare_ways(way: Judged, against: Judged, seed: int = 0) -> Kept:
    """Paired over the same resamples of problems."""
    both = np.stack([way.auroc, against.auroc], axis=1)
    drawn = Resamples(len(both), rng=np.random.default_rng(seed), resamples=_RESAMPLES).means(both)
    means = np.nanmean(both, axis=0)
    ours, theirs = way.worth.first_error.value, against.worth.first_error.value
    return Kept(
        way=way.worth.name,
        against=against.worth.name,
        difference=_estimate(means[0] - means[1], drawn[:, 0] - drawn[:, 1]),
        ratio=_estimate(means[0] / means[1], drawn[:, 0] / drawn[:, 1]),
        first_error_difference=_estimate(ours - theirs, way.first_error - against.first_error),
        first_error_ratio=_estimate(ours / theirs, way.first_error / against.first_error),
    )


def worth_markdown(judged: Sequence[Judged], kept: Sequence[Kept]) -> str:
    """Two tables: every way, and the comparisons."""
    lines = [
        "| way | AUROC of energy | gap closed, with log-probability | first wrong step | ECE |",
        "|---|---|---|---|---|",
    ]
    for each in judged:
        worth = each.worth
        figures = worth.auroc, worth.gap_closed, worth.first_error, worth.ece
        lines.append(f"| {worth.name} | {' | '.join(map(str, figures))} |")
    lines += ["", "| way | against | difference of AUROC | ratio | of first wrong step: difference | ratio |"]
    lines += ["|---|---|---|---|---|---|"]
    for one in kept:
        figures = one.difference, one.ratio, one.first_error_difference, one.first_error_ratio
        lines.append(f"| {one.way} | {one.against} | {' | '.join(map(str, figures))} |")
    return "\n".join(lines) + "\n"


def _gap(columns: Float64) -> Float64:
    """Gap closed from mean right, mean@1 and pass@K: rows 1, 2 and 3."""
    return np.asarray((columns[1] - columns[2]) / np.maximum(columns[3] - columns[2], 1e-12))


def _estimate(value: float | Float64, drawn: Float64) -> Estimate:
    low, high = interval(drawn[:, None])
    return Estimate(value=float(value), low=float(low[0]), high=float(high[0]))


def _over_problems(pool: CandidatePool, figure: Callable[[Int64], float], seed: int) -> tuple[float, Float64]:
    """A figure of any problems (their indices): of all of them, and of each bootstrap resample."""
    random, count = np.random.default_rng(seed), len(pool)
    drawn = np.array([figure(random.integers(0, count, count)) for _ in range(_COSTLY_RESAMPLES)])
    return figure(np.arange(count)), drawn


def _first_error(pool: CandidatePool) -> Callable[[Int64], float]:
    """First-error AUROC of any problems."""
    energies, located, right = judged_steps(pool)
    size = pool.num_candidates

    def auroc(rows: Int64) -> float:
        chains = (rows[:, None] * size + np.arange(size)).ravel().tolist()
        return first_error_steps(
            [energies[i] for i in chains], [located[i] for i in chains], [right[i] for i in chains]
        ).auroc()

    return auroc
