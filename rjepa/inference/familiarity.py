"""Whether a problem is one of a kind that R-JEPA knows.

On a family of problems that it has never seen, R-JEPA's energy measures how foreign a step is and not how wrong, and
choosing by it does harm (docs/lab-book/36-harder-unseen-and-k16.md, docs/lab-book/38-guard-against-unknown-kinds.md).
What gives such a family away is the energy itself: all candidates together have more than those of nearly every
validation problem. The rule that follows from it lives in `rjepa.inference.calibration`.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool

from rjepa.arrays import Bools
from rjepa.inference.aggregate import Features, problem_means

FAMILIAR_FEATURE: Final = "energy_log"
"""The feature of a chain that tells. Wrong steps hardly move a mean of logarithms over all candidates, while a foreign
family moves each."""

FAMILIAR_SHARE: Final = 0.99
"""Share of validation problems that are called familiar: what the rule may cost where it is not needed."""


def fit_familiar_energy(features: Features) -> tuple[float, ...]:
    """The energies that `FAMILIAR_SHARE` of validation problems stay below, by what 1, 2, 3, ... candidates show: the
    mean of a few varies more than that of many. Empty where no candidate has an energy.

    Args:
        features: at least `FAMILIAR_FEATURE`, of each candidate of each problem.
    """
    values = features[FAMILIAR_FEATURE]
    limits = []
    for count in range(1, values.shape[1] + 1):
        energy = problem_means(values[:, :count])
        known = energy[np.isfinite(energy)]
        if not known.size:
            return ()
        limits.append(float(np.quantile(known, FAMILIAR_SHARE)))
    return tuple(limits)


def is_familiar(features: Features, limits: Sequence[float]) -> Bool[Bools, " problems"]:
    """Which problems have at most the energy that is usual for as many candidates. A problem without energies, or
    without a limit, is familiar.
    """
    values = features[FAMILIAR_FEATURE]
    if not limits:
        return np.ones(len(values), dtype=bool)
    counts = np.clip(np.isfinite(values).sum(axis=1), 1, len(limits))
    foreign: Bools = problem_means(values) > np.array(limits)[counts - 1]
    return ~foreign
