"""How good is a score, a choice, a probability: AUROC, pass@k, gap closed, ECE, risk against coverage.

Pure functions over numpy arrays. Intervals and tests live in `rjepa.evaluation.statistics`. A figure that is not
defined (no wrong candidate, no gap to close) is NaN here and None in a report.
"""

from dataclasses import dataclass

import numpy as np

from rjepa.arrays import Bools, Float64


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions between `low` and `high`: how many, their mean, and the share that was right."""

    low: float
    high: float
    count: int
    predicted: float
    observed: float


def none_if_undefined(value: float) -> float | None:
    """A figure for a report: NaN has no place in JSON."""
    return float(value) if np.isfinite(value) else None


def mean_if_any(values: Float64) -> float | None:
    """Mean of the finite ones; None without any."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def auroc(scores: Float64, positive: Bools) -> float:
    """P(a positive scores above a negative), ties counting half. `[n]`; NaN without both kinds."""
    from scipy.stats import rankdata  # it takes most of a second to load (`rjepa.tails`)

    scores, positive = np.ravel(scores), np.ravel(positive)
    hits = int(positive.sum())
    misses = positive.size - hits
    if not hits or not misses:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def within_problem_auroc(scores: Float64, correct: Bools, strata: Float64 | None = None) -> Float64:
    """AUROC of right against wrong candidates inside each problem, float64 `[problems]`; NaN where not mixed.

    Difficulty is the same for all candidates of a problem, so it cannot help a score here as it does when pooled.

    Args:
        strata: `[problems, candidates]`; where given, only candidates of equal stratum are compared.
    """
    scores = np.nan_to_num(scores, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    above = scores[:, :, None] > scores[:, None, :]
    level = scores[:, :, None] == scores[:, None, :]
    pairs = correct[:, :, None] & ~correct[:, None, :]
    if strata is not None:
        pairs &= strata[:, :, None] == strata[:, None, :]
    wins = np.where(pairs, above + 0.5 * level, 0.0).sum(axis=(1, 2))
    count = pairs.sum(axis=(1, 2))
    shares: Float64 = np.divide(wins, count, out=np.full(len(scores), np.nan), where=count > 0)
    return shares


def pass_at_k(correct: Bools, k: int) -> Float64:
    """Unbiased P(at least one of k samples is right), float64 `[problems]`: 1 - C(n - c, k) / C(n, k).

    Args:
        correct: bool `[problems, n]`.
        k: from 1 to n.

    Raises:
        ValueError: k is out of range.
    """
    total = correct.shape[1]
    if not 1 <= k <= total:
        raise ValueError(f"k must be between 1 and {total}, got {k}")
    wrong = total - correct.sum(axis=1)
    drawn = np.arange(k)
    chances: Float64 = 1.0 - np.prod(np.maximum(wrong[:, None] - drawn, 0) / (total - drawn), axis=1)
    return chances


def gap_closed(accuracy: Float64 | float, mean_at_1: Float64 | float, ceiling: Float64 | float) -> Float64:
    """(accuracy - mean@1) / (pass@K - mean@1): 0 for choosing blindly, 1 for the oracle; NaN without a gap."""
    gap = np.asarray(ceiling, dtype=np.float64) - mean_at_1
    gained = np.broadcast_to(np.asarray(accuracy, dtype=np.float64) - mean_at_1, gap.shape)
    closed: Float64 = np.divide(gained, gap, out=np.full(gap.shape, np.nan), where=gap > 1e-12)
    return closed


def reliability(probabilities: Float64, correct: Bools, bins: int = 10) -> list[ReliabilityBin]:
    """Equal-width bins over [0, 1], the empty ones left out. `[n]` each."""
    position = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    return [
        ReliabilityBin(
            low=bin_index / bins,
            high=(bin_index + 1) / bins,
            count=int(inside.sum()),
            predicted=float(probabilities[inside].mean()),
            observed=float(correct[inside].mean()),
        )
        for bin_index in range(bins)
        if (inside := position == bin_index).any()
    ]


def expected_calibration_error(probabilities: Float64, correct: Bools, bins: int = 10) -> float:
    """Mean distance between predicted and observed over the bins, weighted by their size; NaN for nothing."""
    if not len(probabilities):
        return float("nan")
    parts = reliability(probabilities, correct, bins)
    return sum(part.count * abs(part.predicted - part.observed) for part in parts) / len(probabilities)


def calibration_error_by_chance(probabilities: Float64, *, rng: np.random.Generator, draws: int = 100) -> float:
    """The ECE that perfect probabilities would show on as few answers: the floor to read an ECE against."""
    if not len(probabilities):
        return float("nan")
    outcomes = rng.random((draws, len(probabilities))) < probabilities
    return float(np.mean([expected_calibration_error(probabilities, outcome) for outcome in outcomes]))


def debiased_calibration_error(probabilities: Float64, correct: Bools, bins: int = 15) -> float:
    """Root-mean-square calibration error over bins of equal size, less what chance adds to each bin.

    The estimator of Kumar, Liang and Ma, "Verified uncertainty calibration" (NeurIPS 2019): from the squared distance
    of a bin, y (1 - y) / (n - 1) is taken, the sampling variance of its observed share y over n answers. Never below
    0; NaN for fewer than two answers a bin. Being a root mean square it lies above the ECE of the same bins.
    """
    count = len(probabilities)
    if count < 2 * bins:
        return float("nan")
    squared = 0.0
    for part in np.array_split(np.argsort(probabilities, kind="stable"), bins):
        observed = float(correct[part].mean())
        distance = (float(probabilities[part].mean()) - observed) ** 2
        squared += len(part) / count * (distance - observed * (1.0 - observed) / (len(part) - 1))
    return float(np.sqrt(max(squared, 0.0)))


def area_under_risk_coverage(confidence: Float64, correct: Bools) -> float:
    """Mean error rate when only the most confident answers are given, over all coverages. `[n]`; lower is better.

    Answers of equal confidence are given together, so that their order does not matter.
    """
    if not len(confidence):
        return float("nan")
    order = np.argsort(-confidence, kind="stable")
    _, group = np.unique(-confidence[order], return_inverse=True)
    wrong = ~correct[order]
    smoothed = (np.bincount(group, weights=wrong) / np.bincount(group))[group]
    return float(np.mean(np.cumsum(smoothed) / np.arange(1, len(order) + 1)))
