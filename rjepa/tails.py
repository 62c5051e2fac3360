"""Exact tail probabilities and bounds of counts, for every room that compares them.

scipy.stats takes most of a second to load, and a command that only lists releases needs none of it: so each function
loads it when it is called.
"""

from functools import lru_cache
from typing import Any

import numpy as np


def chance_of_at_least(heads: Any, tosses: Any) -> Any:
    """P(`heads` heads or more in `tosses` tosses of a fair coin); counts or arrays of counts."""
    from scipy.stats import binom

    return binom.sf(np.asarray(heads) - 1, tosses, 0.5)


def chance_of_at_most(heads: Any, tosses: Any) -> Any:
    """P(`heads` heads or fewer in `tosses` tosses of a fair coin); counts or arrays of counts."""
    from scipy.stats import binom

    return binom.cdf(heads, tosses, 0.5)


def highest_share(wrong: int, judged: int, level: float) -> float:
    """One-sided upper bound of a share: the true one is above it with a chance of at most `level`, whatever it is.

    Clopper and Pearson, The use of confidence or fiducial limits (Biometrika 1934).
    """
    from scipy.stats import beta

    return 1.0 if wrong >= judged else float(beta.ppf(1.0 - level, wrong + 1, judged - wrong))


@lru_cache(maxsize=4096)  # a report asks for the same few counts thousands of times
def chance_to_stay_ahead(first: int, second: int) -> float:
    """P(the first of two answers is the more likely one), with so many votes for each and no opinion before."""
    from scipy.stats import beta

    return float(beta.sf(0.5, first + 1, second + 1))


def wilson_interval(right: int, judged: int) -> tuple[float, float]:
    """95 % interval of a share of independent problems (Wilson, 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(right, judged).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
