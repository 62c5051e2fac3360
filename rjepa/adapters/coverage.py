"""Which part of the target's latents a map reaches: those that lie where its pairs lie.

A map is known where it was fitted. The measure is the distance of a latent from the pairs, in the directions in which
they spread: a latent is reached where it lies no further out than nearly all pairs do.

Legend: N rows, W columns.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from rjepa.arrays import Float32
from rjepa.latents.normalizer import Normalizer

_QUANTILE: Final = 0.99
"""Part of the fitted pairs that are reached by definition: one in a hundred lies further out by chance."""

_SHRINKAGE: Final = 0.1
"""Share of the mean variance that is added to every direction: with few pairs some have hardly any of their own."""


@dataclass(frozen=True)
class Reach:
    """Where the pairs of a map lie, and how far out still counts."""

    inputs: Normalizer
    centre: Float32
    """[W], standardised"""
    whitening: Float32
    """[W, W]"""
    limit: float

    @classmethod
    def of(cls, inputs: Normalizer, fitted: Float32) -> Self:
        """From the target's side of the pairs that a map was fitted on [N, W], raw."""
        rows = inputs.apply(fitted).astype(np.float64)
        centre = rows.mean(0)
        variances, directions = np.linalg.eigh(np.cov(rows - centre, rowvar=False, bias=True).reshape(inputs.width, -1))
        variances = variances.clip(min=0) + _SHRINKAGE * max(float(variances.mean()), 1e-12)
        whitening = (directions / np.sqrt(variances)).astype(np.float32)
        reach = cls(inputs, centre.astype(np.float32), whitening, np.inf)
        return cls(inputs, reach.centre, whitening, float(np.quantile(reach.distances(fitted), _QUANTILE)))

    def distances(self, latents: npt.NDArray[np.floating]) -> Float32:
        """Of each row [N, W], raw: its root mean square in deviations of the pairs."""
        white = (self.inputs.apply(latents) - self.centre) @ self.whitening
        found: Float32 = np.sqrt(np.square(white).mean(-1))
        return found

    def share(self, latents: npt.NDArray[np.floating]) -> float:
        """Part of the rows [N, W] that are reached: about 0.99 of latents like the pairs, where these are many."""
        return float((self.distances(latents) <= self.limit).mean())
