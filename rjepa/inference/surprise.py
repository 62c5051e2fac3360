"""How unusual an energy is among right steps: what turns a number without a unit into a share that people can read.

A release knows the energies of the right steps of validation chains, as quantiles. A step is then told by the share of
right steps that have less energy: 0.5 is an ordinary right step, and above 0.98 one right step in fifty. Finding the
right steps lives in `rjepa.evaluation.first_error`, the scores of whole chains in `rjepa.inference.score`.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from pydantic import Field

from rjepa.arrays import Float64
from rjepa.values import FrozenValue

_QUANTILES: Final = 101
"""One quantile for each percent: a step's bar on the page is about 100 pixels wide, and cannot show a finer one."""

_FEWEST_STEPS: Final = 100
"""Fewer right steps than quantiles between 0 and 1 do not tell one percent from the next."""

_SPREAD: Final = (0.1, 0.5, 0.9)
"""Quantiles shown for each domain: 80 % of its steps lie between the outer two."""


class StepSpread(FrozenValue):
    """Energies of steps: what one, five and nine of ten do not exceed."""

    steps: int
    low: float
    median: float
    high: float

    @classmethod
    def of(cls, energies: Float64) -> "StepSpread | None":
        """None where there is no step."""
        known = energies[np.isfinite(energies)]
        if not known.size:
            return None
        low, median, high = np.quantile(known, _SPREAD).tolist()
        return cls(steps=int(known.size), low=low, median=median, high=high)


class StepEnergies(FrozenValue):
    """How surprising the steps of validation chains are in one domain."""

    domain: str
    right: StepSpread | None
    wrong: StepSpread | None = Field(description="first wrong steps: what follows from one is not counted")


def fit_step_quantiles(energies: Float64) -> tuple[float, ...]:
    """Energies that 0 %, 1 %, ..., 100 % of right steps do not exceed; empty where there are too few steps to tell.

    Args:
        energies: of steps that were judged right, of validation chains, `[steps]`.
    """
    known = energies[np.isfinite(energies)]
    if known.size < _FEWEST_STEPS:
        return ()
    return tuple(np.quantile(known, np.linspace(0.0, 1.0, _QUANTILES)).tolist())


def share_of_right_steps_below(quantiles: Sequence[float], energy: float) -> float | None:
    """Share of right steps that have less energy, between 0 and 1; None where a release does not know.

    Args:
        quantiles: what `fit_step_quantiles` returns.
    """
    if not quantiles:
        return None
    return float(np.interp(energy, quantiles, np.linspace(0.0, 1.0, len(quantiles))))


def energy_above_share(quantiles: Sequence[float], share: float) -> float | None:
    """The energy that this share of right steps does not exceed; None where a release does not know."""
    if not quantiles:
        return None
    return float(np.interp(share, np.linspace(0.0, 1.0, len(quantiles)), quantiles))
