"""Are latents fit to learn from: finite, and different from step to step? A pure measurement for a check."""

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from rjepa.arrays import Float16
from rjepa.latents.mapped import give_back, take_rows
from rjepa.latents.sets import LatentSet

_ROWS: Final = 20_000
"""Evenly spread rows that deviations are measured on; every row is looked at for values that are not finite."""

_CHUNK: Final = 65_536
_DEAD: Final = 1e-6
_MOST_DEAD: Final = 0.05
"""Share of the dimensions that may stand still: some LLMs have a few that do."""


@dataclass(frozen=True)
class Spread:
    """`dead_share`: of the dimensions, those that hardly change. `deviation`: median over dimensions."""

    rows: int
    not_finite: int
    dead_share: float
    deviation: float

    @property
    def is_healthy(self) -> bool:
        return self.rows > 1 and self.not_finite == 0 and self.dead_share <= _MOST_DEAD

    def metadata(self) -> dict[str, int | float]:
        """Every number by name."""
        return asdict(self)


def measure_spread(latents: LatentSet) -> Spread:
    """Measure a set; memory-mapped latents are read in pieces."""
    rows = len(latents.latents)
    bad = sum(_not_finite(latents.latents, first) for first in range(0, rows, _CHUNK))
    chosen = np.unique(np.linspace(0, max(rows - 1, 0), min(rows, _ROWS)).astype(np.int64))
    sample = take_rows(latents.latents, chosen) if rows else np.zeros((1, latents.width))
    deviation = np.nan_to_num(sample.astype(np.float32)).std(axis=0)
    return Spread(rows, bad, float((deviation < _DEAD).mean()), float(np.median(deviation)))


def _not_finite(latents: Float16, first: int) -> int:
    """Rows of one chunk that hold a value that is not finite."""
    found = int((~np.isfinite(latents[first : first + _CHUNK])).any(axis=1).sum())
    give_back(latents)
    return found
