"""Views of many chains' latents for the baselines: standardised rows, and one vector a chain.

R-JEPA reads the same latents through the same normaliser, so that baselines see what it sees.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rjepa.arrays import Float32, Float64, Int64
from rjepa.latents.normalizer import Normalizer
from rjepa.latents.sets import LatentSet


@dataclass(frozen=True)
class StepRows:
    """Standardised latents of the segments after the prompt, chain after chain.

    Attributes:
        values: float32 `[rows, width]`.
        chain: int64 `[rows]`, the chain of each row; ascending.
        chains: how many chains; some may have no row.
    """

    values: Float32
    chain: Int64
    chains: int

    @classmethod
    def of(cls, latents: LatentSet, normalizer: Normalizer) -> "StepRows":
        lengths = latents.lengths
        inside = np.ones(int(lengths.sum()), dtype=bool)
        inside[latents.offsets[:-1][lengths > 0]] = False
        chain = np.repeat(np.arange(len(latents)), lengths)[inside]
        return cls(normalizer.apply(np.asarray(latents.latents[inside])), chain, len(latents))

    @property
    def counts(self) -> Int64:
        """int64 `[chains]`."""
        return np.bincount(self.chain, minlength=self.chains)

    def sums(self, values: npt.NDArray[np.floating]) -> Float64:
        """Sum over each chain's rows of `values` `[rows, ...]`: float64 `[chains, ...]`, 0 for none."""
        total = np.zeros((self.chains, *values.shape[1:]))
        counts = self.counts
        filled = counts > 0
        if filled.any():
            starts = (np.cumsum(counts) - counts)[filled]
            total[filled] = np.add.reduceat(values, starts, axis=0, dtype=np.float64)
        return total

    def means(self, values: npt.NDArray[np.floating]) -> Float64:
        """Mean over each chain's rows of `values` `[rows, ...]`: float64 `[chains, ...]`, NaN for none."""
        counts = self.counts.reshape(-1, *[1] * (values.ndim - 1))
        sums = self.sums(values)
        means: Float64 = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        return means


def mean_and_answer(rows: StepRows) -> Float32:
    """float32 `[chains, 2 * width]`: mean of a chain's segments, and its last one (the answer line). NaN for none."""
    counts = rows.counts
    last = np.full((rows.chains, rows.values.shape[1]), np.nan, dtype=np.float32)
    last[counts > 0] = rows.values[(np.cumsum(counts) - 1)[counts > 0]]
    return np.concatenate([rows.means(rows.values).astype(np.float32), last], axis=1)
