"""Baselines that learn from labelled candidates (is the final answer right?): a probe, a gated linear reward, a text
verifier.

They get the labels that fit R-JEPA's own weights, and no more. Each is small, convex or nearly so, and deterministic;
which candidates they learn from lives in `rjepa.evaluation.rivals`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit

from rjepa.arrays import Bools, Float32, Float64
from rjepa.evaluation.views import StepRows

RIDGES: Final = (0.01, 0.1)
"""Tried by the probe and the gated reward, which have hundreds of correlated columns; chosen on held-out problems."""

HASHED: Final = 2**20
"""Columns of the text verifier: about as many weights as R-JEPA has parameters."""

_ITERATIONS: Final = 60


@dataclass(frozen=True)
class Probe:
    """Logistic regression on one vector a chain: weights `[columns]` and an intercept."""

    weights: Float32
    intercept: float

    def score(self, chains: Float32) -> Float64:
        """Log-odds `[chains]`; NaN for a chain with NaN."""
        return (chains @ self.weights + self.intercept).astype(np.float64)


def fit_probe(chains: Float32, right: Bools, ridge: float) -> Probe:
    """Fit to `[chains, columns]`, finite and about standardised, and `[chains]`."""
    # Double precision: products differ in their last bits from run to run, and iterations would magnify that.
    chains, target = chains.astype(np.float64), right.astype(np.float64)

    def loss(parameters: Float64) -> tuple[float, Float64]:
        w = parameters[:-1]
        logit = chains @ w + parameters[-1]
        slope = (expit(logit) - target) / len(target)
        value = float(np.mean(np.logaddexp(0.0, logit) - target * logit)) + 0.5 * ridge * float(w @ w)
        return value, np.append(slope @ chains + ridge * w, slope.sum())

    found = _minimise(loss, np.zeros(chains.shape[1] + 1))
    return Probe(found[:-1].astype(np.float32), float(found[-1]))


@dataclass(frozen=True)
class GatedReward:
    """SWIFT's form (arXiv:2505.12225) on step latents: a linear gate and a linear reward a step; the chain's reward is
    the mean of the rewards weighted by the gates. The paper reads every token of every layer; here, as R-JEPA does, the
    poolings of one layer.
    """

    gate: Float32
    gate_bias: float
    reward: Float32
    reward_bias: float

    def score(self, steps: StepRows) -> Float64:
        """Log-odds `[chains]`; NaN for a chain without a step."""
        opened = expit(steps.values @ self.gate + np.float32(self.gate_bias))
        total = steps.sums(opened)
        weighted = steps.sums(opened * (steps.values @ self.reward))
        mean: Float64 = np.divide(weighted, total, out=np.full(len(total), np.nan), where=total > 0)
        return np.asarray(mean + self.reward_bias)


def fit_gated_reward(steps: StepRows, right: Bools, ridge: float) -> GatedReward:
    """Fit to the steps of chains, and whether each chain is right `[chains]`. Chains without a step are left out."""
    known = steps.counts > 0
    values, target = steps.values.astype(np.float64), right.astype(np.float64)  # as in `fit_probe`
    width = values.shape[1]

    def loss(parameters: Float64) -> tuple[float, Float64]:
        both = parameters[: 2 * width].reshape(2, width)
        # Columns of one product: the rows are read once for gate and reward.
        logits = values @ both.T
        opened = expit(logits[:, 0] + parameters[-2])
        reward = logits[:, 1]
        total = np.maximum(steps.sums(opened), 1e-6)
        mean = steps.sums(opened * reward) / total
        logit = mean + parameters[-1]
        slope = np.where(known, expit(logit) - target, 0.0) / known.sum()
        value = np.where(known, np.logaddexp(0.0, logit) - target * logit, 0.0).sum() / known.sum()
        share = (slope / total)[steps.chain]
        to_reward = share * opened
        to_gate = share * (reward - mean[steps.chain]) * opened * (1.0 - opened)
        gradient = np.stack([to_gate, to_reward]) @ values + ridge * both
        value += 0.5 * ridge * float((both**2).sum())
        return float(value), np.concatenate([gradient.ravel(), [to_gate.sum(), slope.sum()]])

    found = _minimise(loss, np.zeros(2 * width + 2))
    gate, reward = found[: 2 * width].reshape(2, width).astype(np.float32)
    return GatedReward(gate, float(found[-2]), reward, float(found[-1]))


class TextVerifier:
    """Reads the text alone: logistic regression on hashed words, pairs and triples of words of statement and chain."""

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.linear_model import SGDClassifier

        self._hash = HashingVectorizer(
            n_features=HASHED, ngram_range=(1, 3), token_pattern=r"\w+|[^\w\s]", alternate_sign=False, dtype=np.float32
        )
        # Averaged stochastic gradient with a fixed seed: seconds on thousands of chains, where L-BFGS takes minutes.
        self._model = SGDClassifier(loss="log_loss", alpha=1e-5, average=True, max_iter=20, tol=None, random_state=0)

    def read(self, texts: Sequence[str]) -> csr_matrix:
        """Texts as a sparse matrix `[texts, HASHED]`, so that they are hashed once for several fits."""
        return csr_matrix(self._hash.transform(texts))

    def fit(self, texts: csr_matrix, right: Bools) -> "TextVerifier":
        """Fit to texts as `read` gives them, and `[texts]`; both kinds must be there."""
        self._model.fit(texts, right)
        return self

    def score(self, texts: csr_matrix) -> Float64:
        """Log-odds `[texts]`."""
        return np.asarray(self._model.decision_function(texts), dtype=np.float64)


def mean_log_loss(log_odds: Float64, right: Bools) -> float:
    """In nats, over the finite ones: what a ridge is chosen by."""
    known = np.isfinite(log_odds)
    logit, target = log_odds[known], right[known]
    return float(np.mean(np.logaddexp(0.0, logit) - target * logit))


def _minimise(loss: object, start: Float64) -> Float64:
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS})
    return np.asarray(found.x, dtype=np.float64)
