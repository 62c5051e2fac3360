"""Measure what a normaliser makes of latents that it was not fitted on. Fitting and applying live in `normalizer`."""

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rjepa.latents.mapped import take_rows
from rjepa.latents.normalizer import CLIP, Normalizer

_ROWS: Final = 20_000
"""Steps that are looked at, evenly spread: enough for shares of a thousandth."""

_CENTRED: Final = 0.5
"""Deviations that the median dimension's mean may be off: held-out chains are of other problems."""

_CLIPPED: Final = 0.02
"""Share of values that may be cut off: more, and the scale is not that of these latents."""

_SPREAD: Final = (0.3, 3.0)
"""Range of the median dimension's deviation, which is about 1 for latents like those that were fitted."""


@dataclass(frozen=True)
class Normalised:
    """How latents lie under a normaliser: medians over dimensions, in its units."""

    steps: int
    offset: float
    deviation: float
    clipped: float

    @property
    def is_healthy(self) -> bool:
        """Centred, spread as expected, and seldom clipped."""
        low, high = _SPREAD
        return self.offset <= _CENTRED and low <= self.deviation <= high and self.clipped <= _CLIPPED

    def metadata(self) -> dict[str, int | float]:
        """Every number by name."""
        return asdict(self)


def measure_normalised(normalizer: Normalizer, latents: npt.NDArray[np.floating]) -> Normalised:
    """Measure latents [steps, width]; memory-mapped ones are read in part.

    Raises:
        ValueError: they are of another width.
    """
    chosen = np.unique(np.linspace(0, max(len(latents) - 1, 0), min(len(latents), _ROWS)).astype(np.int64))
    standard = normalizer.apply(take_rows(latents, chosen))
    if not len(standard):
        return Normalised(0, 0.0, 1.0, 0.0)
    return Normalised(
        steps=len(standard),
        offset=float(np.median(np.abs(standard.mean(axis=0)))),
        deviation=float(np.median(standard.std(axis=0))),
        clipped=float((np.abs(standard) >= CLIP).mean()),
    )
