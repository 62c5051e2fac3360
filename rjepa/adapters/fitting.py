"""Fit the map from one space of latents into another, in closed form. Fits by gradient are in `rjepa.adapters.network`.

All work between the standardised spaces: the way out by the R-JEPA's own normaliser, since standardised latents are
what it reads, and clipped ones at that. Rows and columns are float32, sums are made in float64.

Legend: N pairs, I and O columns of the inputs and of the outputs.
"""

from typing import Final

import numpy as np

from rjepa.adapters.maps import LatentMap
from rjepa.arrays import Float32, Float64
from rjepa.errors import InvalidInputError
from rjepa.latents.normalizer import Normalizer

RIDGE_STRENGTHS: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of ridge regression, relative to the mean square of an input column: from hardly any to a strong pull to the mean."""


def fit_standardised(inputs: Normalizer, outputs: Normalizer) -> LatentMap:
    """Column by column the same place in the distribution: no pair is looked at.

    Raises:
        InvalidInputError: the widths differ, so that columns have no partner.
    """
    if inputs.width != outputs.width:
        raise InvalidInputError(
            f"columns cannot be carried over one by one from {inputs.width} to {outputs.width}",
            cure="choose another fit (ridge, mlp): this one is for students of one width",
        )
    return LatentMap(inputs, outputs, np.eye(inputs.width, dtype=np.float32), np.zeros(outputs.width, np.float32))


def fit_procrustes(inputs: Normalizer, outputs: Normalizer, into: Float32, out: Float32) -> LatentMap:
    """Rotation (between widths: onto or into a subspace) and one scale, after Schoenemann (1966).

    Args:
        into: [N, I], raw.
        out: [N, O], raw.
    """
    x, y, centre_x, centre_y = _centred(inputs.apply(into), outputs.apply(out))
    left, singular, right = np.linalg.svd(x.T @ y, full_matrices=False)
    rotation = left @ right
    scale = singular.sum() / max(float(np.square(x @ rotation).sum()), 1e-12)
    return _affine(inputs, outputs, rotation * scale, centre_x, centre_y)


def fit_ridge(inputs: Normalizer, outputs: Normalizer, into: Float32, out: Float32, strength: float) -> LatentMap:
    """Affine, by ridge regression (arguments as `fit_procrustes`); `strength` as in RIDGE_STRENGTHS."""
    x, y, centre_x, centre_y = _centred(inputs.apply(into), outputs.apply(out))
    return _affine(inputs, outputs, _ridge(x, y, strength), centre_x, centre_y)


def fit_reduced_rank(
    inputs: Normalizer, outputs: Normalizer, into: Float32, out: Float32, strength: float, rank: int
) -> LatentMap:
    """Ridge regression through so many directions at most: those of its fitted values with the largest variance
    (Izenman 1975).

    Raises:
        ValueError: the rank is below 1.
    """
    if rank < 1:
        raise ValueError(f"a rank is at least 1, got {rank}")
    x, y, centre_x, centre_y = _centred(inputs.apply(into), outputs.apply(out))
    weight = _ridge(x, y, strength)
    fitted = x @ weight
    _, directions = np.linalg.eigh(fitted.T @ fitted)
    kept = directions[:, ::-1][:, :rank]
    return _affine(inputs, outputs, weight @ kept @ kept.T, centre_x, centre_y)


def fit_random(inputs: Normalizer, outputs: Normalizer, seed: int) -> LatentMap:
    """A control that knows nothing: random directions, of the scale of what goes in."""
    weight = np.random.default_rng(seed).normal(size=(inputs.width, outputs.width)) / np.sqrt(inputs.width)
    return LatentMap(inputs, outputs, weight.astype(np.float32), np.zeros(outputs.width, np.float32))


def r_squared(fitted: LatentMap, into: Float32, out: Float32) -> float:
    """Part of the variance of the outputs' standardised columns that a map explains, all columns together.

    Below 0 where the columns' mean would do better; at most 1. `into` [N, I] and `out` [N, O] are raw.
    """
    truth = fitted.outputs.apply(out).astype(np.float64)
    error = np.square(fitted.between(fitted.inputs.apply(into)) - truth).sum()
    spread = np.square(truth - truth.mean(0)).sum()
    return float(1 - error / max(spread, 1e-12))


def _centred(x: Float32, y: Float32) -> tuple[Float64, Float64, Float64, Float64]:
    """Both without their means, and the means."""
    if len(x) != len(y) or not len(x):
        raise ValueError(f"expected as many rows on both sides and one at least, got {len(x)} and {len(y)}")
    wide, out = x.astype(np.float64), y.astype(np.float64)
    centre_x, centre_y = wide.mean(0), out.mean(0)
    return wide - centre_x, out - centre_y, centre_x, centre_y


def _ridge(x: Float64, y: Float64, strength: float) -> Float64:
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += strength * max(float(gram.trace()) / len(gram), 1e-12)
    return np.asarray(np.linalg.solve(gram, x.T @ y))


def _affine(
    inputs: Normalizer, outputs: Normalizer, weight: Float64, centre_x: Float64, centre_y: Float64
) -> LatentMap:
    bias = centre_y - centre_x @ weight
    return LatentMap(inputs, outputs, weight.astype(np.float32), bias.astype(np.float32))
