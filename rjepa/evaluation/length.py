"""What is left of a score once the length of the chains is taken out: length alone is a strong confound
(arXiv:2505.17813).

Two ways, both within problems: the residual of a regression on the lengths, and pairs of equal length only (the
`strata` of `rjepa.evaluation.metrics.within_problem_auroc`).
"""

import numpy as np

from rjepa.arrays import Float64
from rjepa.inference.aggregate import Features


def without_length(scores: Float64, lengths: Float64) -> Float64:
    """Residuals `[problems, candidates]` of the least-squares fit of a score on the lengths and a mean per problem.

    The mean of each problem is taken out of score and lengths first, which fits the same slopes as a dummy variable a
    problem would (Frisch-Waugh). A chain without a score keeps -inf.

    Args:
        scores: `[problems, candidates]`, -inf for none.
        lengths: `[problems, candidates, measures]`, finite.
    """
    known = np.isfinite(scores)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    filled = np.where(known, scores, 0.0)
    centred = np.where(known, filled - filled.sum(axis=1, keepdims=True) / count, 0.0)
    masked = np.where(known[..., None], lengths, 0.0)
    regressors = np.where(known[..., None], masked - masked.sum(axis=1, keepdims=True) / count[..., None], 0.0)
    flat = regressors.reshape(-1, lengths.shape[-1])
    slopes, *_ = np.linalg.lstsq(flat, centred.ravel(), rcond=None)
    return np.where(known, centred - regressors @ slopes, -np.inf)


def length_measures(features: Features) -> Float64:
    """What counts as length: tokens and steps, `[problems, candidates, 2]`."""
    return np.stack([features["tokens"], features["steps"]], axis=-1)
