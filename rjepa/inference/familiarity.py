"""Whether a problem is one of a kind that R-JEPA knows.

On a family of problems that it has never seen, R-JEPA's energy measures how foreign a step is and not how wrong, and
choosing by it does harm (docs/lab-book/36-harder-unseen-and-k16.md, docs/lab-book/38-guard-against-unknown-kinds.md).
What gives such a family away is the energy itself: all candidates together have more than those of nearly every
validation problem. The rule that follows from it lives in `rjepa.inference.calibration`.
"""

from typing import Final

import numpy as np
from jaxtyping import Bool

from rjepa.inference.aggregate import Features, problem_means
from rjepa.inference.voting import BoolArray

FAMILIAR_FEATURE: Final = "energy_log"
"""Of a chain. Wrong steps hardly move a mean of logarithms over all candidates, while a foreign family moves each."""

FAMILIAR_SHARE: Final = 0.99
"""Share of validation problems that are called familiar: what the rule may cost where it is not needed."""


def fit_familiar_energy(features: Features) -> float | None:
    """The energy that `FAMILIAR_SHARE` of validation problems stay below; None where none has an energy.

    Args:
        features: at least `FAMILIAR_FEATURE`, of each candidate of each problem.
    """
    energy = problem_means(features[FAMILIAR_FEATURE])
    known = energy[np.isfinite(energy)]
    return float(np.quantile(known, FAMILIAR_SHARE)) if known.size else None


def is_familiar(features: Features, limit: float | None) -> Bool[BoolArray, " problems"]:
    """Which problems have at most this energy. A problem without energies, or without a limit, is familiar."""
    if limit is None:
        return np.ones(len(features[FAMILIAR_FEATURE]), dtype=bool)
    return ~(problem_means(features[FAMILIAR_FEATURE]) > limit)
