"""Baselines that need no label of a candidate: distance to what right chains look like, and the path of the latents.

Each is a small pure function over arrays; higher means more likely right. What they are fitted on, and how they become
rows of the leaderboard, lives in `rjepa.evaluation.rivals`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rjepa.arrays import Float32, Float64
from rjepa.evaluation.views import StepRows

NEIGHBOURS: Final = 10
"""Distance to the tenth neighbour: the mean over a few is steadier than the nearest (Sun et al., arXiv:2204.06507)."""

_SHRINKAGE: Final = 0.05
"""Share of the mean variance mixed into the covariance, so that directions that hardly vary do not own the distance."""

_BLOCK: Final = 2048


@dataclass(frozen=True)
class Gaussian:
    """Mean `[width]` and a whitening matrix `[width, width]`."""

    mean: Float32
    whiten: Float32


def fit_gaussian(rows: Float32) -> Gaussian:
    """Fit to rows `[rows, width]` of right chains, the covariance shrunk towards a multiple of the identity.

    Raises:
        ValueError: fewer than two rows.
    """
    if len(rows) < 2:
        raise ValueError(f"a covariance needs at least 2 rows, got {len(rows)}")
    mean = rows.mean(axis=0)
    covariance = np.cov(rows - mean, rowvar=False, dtype=np.float64).reshape(rows.shape[1], -1)
    level = float(np.trace(covariance)) / len(covariance)
    shrunk = (1 - _SHRINKAGE) * covariance + (_SHRINKAGE * level + 1e-12) * np.eye(len(covariance))
    return Gaussian(mean.astype(np.float32), np.linalg.inv(np.linalg.cholesky(shrunk)).T.astype(np.float32))


def mahalanobis(steps: StepRows, gaussian: Gaussian) -> Float64:
    """Minus the mean squared Mahalanobis distance of a chain's segments: float64 `[chains]`, NaN for none."""
    squared = np.concatenate(
        [np.zeros(0, dtype=np.float32)]
        + [
            (((steps.values[start : start + _BLOCK] - gaussian.mean) @ gaussian.whiten) ** 2).sum(axis=1)
            for start in range(0, len(steps.values), _BLOCK)
        ]
    )
    return -steps.means(squared)


def nearest_neighbours(chains: Float32, right: Float32, k: int = NEIGHBOURS) -> Float64:
    """Minus the mean distance to the k nearest right chains: float64 `[chains]`, NaN for a chain with NaN.

    Args:
        chains: `[chains, columns]`, one vector each.
        right: `[right chains, columns]`, at least one.
    """
    k = min(k, len(right))
    norms = (right.astype(np.float64) ** 2).sum(axis=1)
    found = np.full(len(chains), np.nan)
    for start in range(0, len(chains), _BLOCK):
        part = np.nan_to_num(chains[start : start + _BLOCK])
        squared = (part.astype(np.float64) ** 2).sum(axis=1)[:, None] + norms - 2.0 * (part @ right.T)
        nearest = np.partition(squared, k - 1, axis=1)[:, :k]
        found[start : start + _BLOCK] = -np.sqrt(np.maximum(nearest, 0.0)).mean(axis=1)
    return np.where(np.isfinite(chains).all(axis=1), found, np.nan)


def chain_of_embedding(points: npt.NDArray[np.floating]) -> tuple[float, float]:
    """CoE-R and CoE-C of one path of hidden states `[points, width]` (Wang et al., arXiv:2410.13640, eq. 5 and 7).

    M is the length of each move and A its angle, both relative to those between the first and the last state. R is
    mean(M) - mean(A); C is the modulus of the mean of M e^(iA). The paper's path runs over layers. One layer is kept
    here, so the path runs over the steps of the chain, from the prompt to the answer line. (NaN, NaN) for fewer than
    two states, or where first and last are the same.
    """
    if len(points) < 2:
        return float("nan"), float("nan")
    points = np.asarray(points, dtype=np.float64)
    whole = float(np.linalg.norm(points[-1] - points[0]))
    whole_angle = float(_angle(points[-1:], points[:1])[0])
    if whole < 1e-12 or whole_angle < 1e-12:
        return float("nan"), float("nan")
    moves = np.linalg.norm(points[1:] - points[:-1], axis=1) / whole
    angles = _angle(points[1:], points[:-1]) / whole_angle
    return float(moves.mean() - angles.mean()), float(np.abs(np.mean(moves * np.exp(1j * angles))))


def _angle(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> Float64:
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosine = np.divide((first * second).sum(axis=1), norms, out=np.ones(len(norms)), where=norms > 0)
    return np.asarray(np.arccos(np.clip(cosine, -1.0, 1.0)), dtype=np.float64)
