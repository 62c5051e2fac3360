"""Does one of two tell its chances worse? The rise of the calibration error, and a bound of it. Pure.

What is compared is the root-mean-square calibration error: how far what is told lies from what comes, sqrt(E[(told -
P(right | told))^2]). Lab book 62 compares ways to estimate and to bound a rise; `python -m benchmarks.nights` shows
what this one lets through.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtri

from rjepa.arrays import Bools, Float64
from rjepa.evaluation.statistics import CONFIDENCE

DEGREE: Final = 2
"""How far P(correct) is off is fitted as a polynomial of this degree in P(correct) itself.

Each term stands for one kind of error. The constant: every P(correct) is too high, or every one too low. The slope:
high ones are too high and low ones too low, or the reverse. The square: those in the middle err one way, those at both
ends the other. Higher degrees, or ten bins, add noise and hardly find more (lab book 62)."""
FEWEST_PROBLEMS: Final = 20
"""With fewer problems for which both tell a chance, nothing is compared: the covariance of the six coefficients, three
for each, cannot be estimated from hardly more problems than that."""


@dataclass(frozen=True)
class CalibrationRise:
    """How much worse the first of two tells its chances, on the problems for which both tell one.

    Attributes:
        first_error, second_error: root-mean-square calibration error, less what chance adds.
        bound: the true rise, first error minus second, is above it with a chance of 1 - confidence.
    """

    problems: int
    first_error: float
    second_error: float
    bound: float

    @property
    def rise(self) -> float:
        """First error minus second, as estimated."""
        return self.first_error - self.second_error


def compare_calibration(
    chances: tuple[Float64, Float64], correct: tuple[Bools, Bools], *, confidence: float = CONFIDENCE
) -> CalibrationRise | None:
    """Compare how well two tell their chances; None where both tell one for too few problems.

    The distance between told and true is fitted by a polynomial in the rank of what is told: its coefficients are means
    over problems, and the sum of their squares is the square of the error. Squares less their sampling variances
    (Kumar, Liang and Ma 2019) have no bias. The covariance of the two squares follows from that of the paired
    coefficients, and with it the standard error of the difference of their roots, which is about normal. The roots are
    compared because a rise of 0.05 is then the same wherever it starts; in squares, from 0.04 it would be 0.024.

    Args:
        chances: P(correct) of each, float64 `[problems]`; NaN where it is not told.
        correct: whether each was right, bool `[problems]`.
        confidence: of the one-sided bound.
    """
    told = np.isfinite(chances[0]) & np.isfinite(chances[1])
    problems = int(told.sum())
    if problems < FEWEST_PROBLEMS:
        return None
    parts = [
        _basis(chance[told]) * (chance[told] - right[told])[:, None]
        for chance, right in zip(chances, correct, strict=True)
    ]
    means = [part.mean(axis=0) for part in parts]
    split = len(means[0])
    covariance = np.cov(np.concatenate(parts, axis=1).T) / problems
    own = (covariance[:split, :split], covariance[split:, split:])
    squares = np.array([float(mean @ mean - np.trace(each)) for mean, each in zip(means, own, strict=True)])
    errors = np.sqrt(np.maximum(squares, 0.0))
    deviation = _deviation(squares, means, covariance)
    bound = float(errors[0] - errors[1]) + float(ndtri(confidence)) * deviation
    return CalibrationRise(problems, float(errors[0]), float(errors[1]), bound)


def _basis(chances: Float64) -> Float64:
    """Polynomials up to `DEGREE` in the rank of each chance, float64 `[problems, columns]`: orthogonal, with a mean
    square of 1. Equal chances have equal ranks; with few distinct ones there are fewer columns.
    """
    from scipy.stats import rankdata  # it takes most of a second to load (`rjepa.tails`)

    ranks = rankdata(chances) / len(chances)
    degree = min(DEGREE, len(np.unique(ranks)) - 1)
    basis: Float64 = np.linalg.qr(np.vander(ranks - ranks.mean(), degree + 1, increasing=True))[0]
    basis *= np.sqrt(len(chances))
    return basis


def _deviation(squares: Float64, means: list[Float64], covariance: Float64) -> float:
    """Standard error of the difference of the two errors.

    Of the squares of normal coefficients with true means m the covariance is 4 m' V m + 2 tr(V V). With estimated means
    m' V m is too large by tr(V V), so that 4 m' V m - 2 tr(V V) is left: `linear - noise`. Never less than `noise` is
    taken, which is what chance alone makes where the true distance is zero. A square root has the slope 1 / (2 root); a
    root below what chance alone makes counts as that large, because slopes have no limit at zero.
    """
    split = len(means[0])
    halves = (slice(None, split), slice(split, None))
    linear, noise = np.empty((2, 2)), np.empty((2, 2))
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        part = covariance[halves[row], halves[column]]
        linear[row, column] = 4 * float(means[row] @ part @ means[column])
        noise[row, column] = 2 * float((part**2).sum())
    roots = np.sqrt(np.maximum(squares, np.sqrt(np.diag(noise))))
    slopes = np.divide([0.5, -0.5], roots, out=np.zeros(2), where=roots > 0)
    variance = max(float(slopes @ (linear - noise) @ slopes), float(slopes @ noise @ slopes), 0.0)
    return float(np.sqrt(variance))
