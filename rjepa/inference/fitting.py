"""Small convex fits behind the calibration: logistic regression, within-problem pairs, the sharpness of a vote.

Few parameters and a few thousand rows, so scipy's optimisers with exact gradients do. What is fitted to what lives
in `rjepa.inference.calibration`.

Dimensions: problems, and the candidates of each; pairs of a right and a wrong one; features of a candidate.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit

from rjepa.arrays import Bools, Float64
from rjepa.inference.voting import AnswerIds, Marks, Scores, vote_shares, vote_weights

RIDGE: Final = 1e-3
"""Penalty on the weights of standardised features: small enough to move a fitted weight by well under 1 %, and it keeps
a perfectly separable set finite."""

PRIOR_PRECISION: Final = 2.0
"""Of the weights of a logistic regression, each Gaussian around 0: so much counts as two rows do, which tempers a
hundred rows and is nothing beside thousands (docs/lab-book/68-p-correct-knows-kinds.md)."""

Weights = Float[Float64, " features"]

MAX_SHARPNESS: Final = 10.0
"""Standardised scores differ by about 1, so at 10 the best candidate outvotes all the others together."""


@dataclass(frozen=True)
class Pairs:
    """Differences right minus wrong within one problem.

    Attributes:
        differences: of the features, right minus wrong.
        weights: summing to 1; each mixed problem weighs the same, however many pairs it has.
        problems: number of mixed problems.
    """

    differences: Float[Float64, "pairs features"]
    weights: Float[Float64, " pairs"]
    problems: int

    def keep(self, columns: list[int]) -> "Pairs":
        """The same pairs seen through fewer features."""
        return Pairs(self.differences[:, columns], self.weights, self.problems)


def make_pairs(features: Float[Float64, "problems candidates features"], correct: Marks) -> Pairs:
    """All (right, wrong) pairs of each problem. Candidates with a value that is not finite are left out."""
    usable = np.isfinite(features).all(axis=-1)
    right, wrong = correct & usable, ~correct & usable
    problem, first, second = np.nonzero(right[:, :, None] & wrong[:, None, :])
    per_problem = np.bincount(problem, minlength=len(features))
    mixed = int((per_problem > 0).sum())
    weights = 1.0 / (per_problem[problem] * max(mixed, 1))
    return Pairs(features[problem, first] - features[problem, second], weights, mixed)


def fit_pairwise(pairs: Pairs) -> tuple[Weights, float]:
    """Weights w minimising the mean of -log sigmoid(w . (right - wrong)), and that mean.

    Where P(right) = sigmoid(b_problem + w . x), this estimates w whatever the difficulty b of each problem.
    """

    def loss(w: Weights) -> tuple[float, Weights]:
        margin = pairs.differences @ w
        value = pairs.weights @ np.logaddexp(0.0, -margin) + 0.5 * RIDGE * w @ w
        gradient = -(pairs.weights * expit(-margin)) @ pairs.differences + RIDGE * w
        return float(value), gradient

    found = minimize(loss, np.zeros(pairs.differences.shape[1]), jac=True, method="BFGS")
    return found.x, pair_loss(pairs, found.x)


def pair_loss(pairs: Pairs, w: Weights) -> float:
    """Mean of -log sigmoid(w . (right - wrong)), in nats; log 2 for a score that says nothing."""
    return float(pairs.weights @ np.logaddexp(0.0, -(pairs.differences @ w)))


def win_rate(pairs: Pairs, w: Weights) -> float:
    """How often the right one of a pair scores higher (ties count half): the within-problem AUROC of `w`."""
    margin = pairs.differences @ w
    return float(pairs.weights @ ((margin > 0) + 0.5 * (margin == 0)))


def fit_logistic(features: Float[Float64, "rows features"], right: Bool[Bools, " rows"]) -> tuple[Weights, float]:
    """Logistic regression on standardised, finite features: the most probable weights under a Gaussian prior of
    `PRIOR_PRECISION`, and the intercept (not shrunk).
    """
    target = right.astype(np.float64)
    shrinkage = PRIOR_PRECISION / max(len(target), 1)

    def loss(parameters: Float[Float64, " all"]) -> tuple[float, Float[Float64, " all"]]:
        w, intercept = parameters[:-1], parameters[-1]
        logit = features @ w + intercept
        value = np.mean(np.logaddexp(0.0, logit) - target * logit) + 0.5 * shrinkage * w @ w
        slope = (expit(logit) - target) / len(target)
        return float(value), np.append(slope @ features + shrinkage * w, slope.sum())

    # Half a count on each side keeps the intercept finite where every row is right, or none.
    share = (target.sum() + 0.5) / (len(target) + 1.0)
    start = np.append(np.zeros(features.shape[1]), np.log(share / (1.0 - share)))
    if right.all() or not right.any():
        return start[:-1], float(start[-1])
    found = minimize(loss, start, jac=True, method="BFGS")
    return found.x[:-1], float(found.x[-1])


def fit_sharpness(scores: Scores, ids: AnswerIds, correct: Marks) -> float:
    """The sharpness at which the weighted vote gives the right answers the largest share (mean log share).

    Only problems with right and wrong candidates that have answers say anything; without any, 1.
    """
    voting = ids >= 0
    mixed = (correct & voting).any(axis=1) & (~correct & voting).any(axis=1)
    if not mixed.any():
        return 1.0
    scores, ids, correct = scores[mixed], ids[mixed], correct[mixed] & voting[mixed]

    def loss(sharpness: float) -> float:
        shares = vote_shares(ids, vote_weights(scores, sharpness))
        return -float(np.mean(np.log(np.maximum(np.where(correct, shares, 0.0).max(axis=1), 1e-9))))

    return float(minimize_scalar(loss, bounds=(0.0, MAX_SHARPNESS), method="bounded").x)
