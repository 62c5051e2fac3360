"""Evidence that may be looked at whenever one likes: bets against a hypothesis, and what became of the stake. Pure.

Somebody who doubts that successes are no likelier than `chance` stakes 1 and bets on each outcome before it is seen.
If the hypothesis holds, no way of betting grows the stake on average, and by Ville's inequality (1939) it ever
reaches 1 / level with a chance of at most `level`: at whatever moment one looks, and however often. The stake is
therefore evidence (an e-process) whose meaning no peeking spoils, unlike that of a p-value. Shafer, "Testing by
betting" (JRSS A 184, 2021); Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS
B 86, 2024).

Of two R-JEPAs on the same problems only those on which they differ say anything: given that they differ, a challenger
that is no better wins at most every other one, `chance` 1/2. The stake as it stands is the evidence, never the
highest that it ever was: what is lost again is lost. Everything is in logarithms; which evidence suffices is decided
elsewhere (`rjepa.releases.night`, `rjepa.living.health`).
"""

from typing import Final

import numpy as np
from scipy.special import logsumexp

from rjepa.arrays import Bools, Float64, Int64
from rjepa.tails import chance_of_at_least

BETS: Final = (0.1, 0.2, 0.3, 0.45)
"""Shares of the stake that are put on each next outcome, a quarter of the first stake each. A share of b is the best
for a coin of (1 + b) / 2: from 55 to 72 %, which is where a release that is two to five points better wins. None is
above a half, so that no outcome takes more than half of the stake. Of six spreads that were tried none is best
everywhere (lab book 51)."""

LOG_CAP: Final = float(np.log(1e4))
"""No more than ten thousand is kept as evidence: the strictest threshold is 600. A stake without a bound would let a
lucky week outweigh every bad one after it."""

Counts = Int64 | int


def log_wealth(successes: Counts, failures: Counts, chance: float = 0.5) -> Float64:
    """Logarithm of what a stake of 1 becomes against "a success has a chance of at most `chance`", capped.

    The stake is spread over `BETS`; a bet pays (1 - chance) / chance times itself for a success. The order of outcomes
    does not matter, so that counts are enough.

    Raises:
        ValueError: `chance` is not between 0 and 1.
    """
    wealth = logsumexp(_by_bet(successes, failures, chance), axis=-1) - np.log(len(BETS))
    return np.asarray(np.minimum(wealth, LOG_CAP), dtype=np.float64)


def log_wealth_path(outcomes: Bools, chance: float = 0.5) -> Float64:
    """The same after each of some outcomes, `[outcomes]`: what somebody who looks every time would see."""
    return log_wealth(np.cumsum(outcomes), np.cumsum(~outcomes), chance)


def log_evidence(only_first: Counts, only_second: Counts, level: float, carried: float = 0.0) -> Float64:
    """Logarithm of the evidence that the first of two is better, after one more set of problems, capped.

    Half of the stake is spread over the bets above and carries on with whatever comes. The other half goes on this
    set as a whole: it is paid out where McNemar's exact p-value is as small as lets the pay-out alone reach 1 /
    level, and is lost elsewhere. Its expectation under "no better" is at most 1, as that of any bet: P(p <= q) / q.
    It is made only where it can be won, and pays for knowing how many problems there will be: without it a set needs
    a third more of them.

    Args:
        only_first: problems of this set that only the first got right.
        level: the evidence is meant to be compared with 1 / level.
        carried: logarithm of the evidence from earlier sets, of other problems.

    Raises:
        ValueError: `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"the level must lie between 0 and 1, got {level}")
    wanted = level * np.exp(carried) / 2.0
    first, second = np.asarray(only_first), np.asarray(only_second)
    spread = log_wealth(first, second)
    on_the_set = np.where(chance_of_at_least(first, first + second) <= wanted, -np.log(wanted), -np.inf)
    # How often the two differ says nothing about which is better, so that it may decide how to bet.
    can_be_won = (0.5 ** (first + second) <= wanted) & (wanted < 1.0)
    wealth = np.where(can_be_won, np.logaddexp(spread, on_the_set) - np.log(2.0), spread)
    return np.asarray(np.minimum(carried + wealth, LOG_CAP), dtype=np.float64)


def _by_bet(successes: Counts, failures: Counts, chance: float) -> Float64:
    if not 0 < chance < 1:
        raise ValueError(f"the chance must lie between 0 and 1, got {chance}")
    won, lost = (np.asarray(count, dtype=np.float64)[..., None] for count in (successes, failures))
    shares = np.asarray(BETS)
    return np.asarray(won * np.log1p(shares * (1.0 - chance) / chance) + lost * np.log1p(-shares), dtype=np.float64)
