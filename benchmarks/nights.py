"""What a month of nights lets through: the gate of a night over 1 000 simulated runs of 30 nights, a challenger each.

`python -m benchmarks.nights`, four minutes, no model. Every challenger is tested on 1 500 sealed problems of three
domains against the release of its night, at the level that the budget gives it. The two differ on a share of
problems; how that is split makes the challenger no better, harmful or useful. The rules are those of
`rjepa.releases.night`, computed for all runs of a night at once; on a sample `decide` itself is asked, and has to
agree.

Beside it stand the gate that was there before (rule `improve` every night, and McNemar at 5 % every night as a plain
script would have it) and other ways to spend the budget: e-LOND (Xu and Ramdas 2024), and a tenth of what is left.
What the clause on P(correct) refuses and lets through is `benchmarks.told_chances`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import norm

from benchmarks.gate import passes as passes_once
from benchmarks.subject import report
from benchmarks.told_chances import measure as measure_told_chances
from rjepa.arrays import Bools, Float64
from rjepa.evaluation.betting import log_evidence, log_wealth
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.paired import PairedCounts
from rjepa.living.budget import BUDGET, NIGHTS, SHARE
from rjepa.releases.findings import LEVEL_IN_DOMAIN, LEVEL_OVERALL, LOSS_IN_DOMAIN, LOSS_OVERALL, Pair
from rjepa.releases.gate import decide
from rjepa.releases.night import MONTHLY_LOSS_IN_DOMAIN, NightTerms
from tests.records import make_record

RUNS: Final = 1000
PROBLEMS_A_DOMAIN: Final = 500
DISCORDANCE: Final = (0.04, 0.08, 0.16)
ASKED: Final = 5
"""Challengers of a setting whose case is also put to `decide`."""
NAMES: Final = ("code", "logic", "math")


TARGETS: Final = {
    "months_without_a_false_promotion": 0.95,
    "months_without_a_false_promotion_looking_after_every_problem": 0.95,
    "decide_agrees": 1.0,
    "calibration_equal_pass_on_1000": 0.75,
    "calibration_equal_pass_on_1500": 0.88,
    "calibration_equal_pass_on_3000": 0.95,
    "calibration_worse_by_0.05_stopped": 0.8,
    "calibration_worse_by_0.1_stopped": 0.99,
}
"""The least share over every kind of null and harmful challenger, every discordance and every mixture with useful
ones; of challengers that tell their chances as well as what is served (calibrated alike, or off in the same way) the
share that passes, of worse ones that which is stopped, however they are worse."""

NULL: Final[dict[str, tuple[float, float, float]]] = {
    "no_better": (0.0, 0.0, 0.0),
    "worse_by_1_point": (-0.01, -0.01, -0.01),
    "worse_by_3_points": (-0.03, -0.03, -0.03),
    "better_by_3_but_5_worse_in_one_domain": (0.07, 0.07, -0.05),
    "equal_but_5_worse_in_one_domain": (0.025, 0.025, -0.05),
}
"""True gains by domain. All of them are false promotions: no better over all, or a domain lost what no month may
lose."""


@dataclass(frozen=True)
class Drawn:
    """One night of all runs: counts by domain, and over all problems."""

    domains: tuple[PairedCounts, ...]

    @property
    def everything(self) -> PairedCounts:
        parts = self.domains
        return PairedCounts(
            sum(int(part.problems) for part in parts),
            np.sum([part.only_first for part in parts], axis=0),
            np.sum([part.only_second for part in parts], axis=0),
        )


def draw(rng: np.random.Generator, gains: tuple[float, ...], discordance: float, runs: int) -> Drawn:
    """Counts of challengers of one worth."""
    domains = []
    for gain in gains:
        differ = max(discordance, abs(gain))
        shares = [(differ + gain) / 2, (differ - gain) / 2, 1 - differ]
        counts = rng.multinomial(PROBLEMS_A_DOMAIN, shares, size=runs)
        domains.append(PairedCounts(PROBLEMS_A_DOMAIN, counts[:, 0], counts[:, 1]))
    return Drawn(tuple(domains))


def loses_nothing(drawn: Drawn, alpha: float, old: Sequence[str] = NAMES, looks: int = 1) -> Bools:
    """Which of many challengers meet every clause of rule `nightly` on losses.

    Args:
        old: domains that the served release learnt.
        looks: sealed sets whose counts these are.
    """
    everything = drawn.everything
    holds = everything.z_against(-LOSS_OVERALL) > norm.isf(min(LEVEL_OVERALL / looks, alpha))
    for name, part in zip(NAMES, drawn.domains, strict=True):
        if name in old:
            holds &= part.z_against(-LOSS_IN_DOMAIN["nightly"]) > norm.isf(LEVEL_IN_DOMAIN / looks)
            holds &= part.z_against(-MONTHLY_LOSS_IN_DOMAIN) > norm.isf(alpha)
    for part in (everything, *drawn.domains):
        holds &= part.z_against(0.0) >= -norm.isf(0.025)
    return np.asarray(holds, dtype=bool)


def passes(drawn: Drawn, alpha: float) -> Bools:
    """What rule `nightly` comes to for many challengers at once, claim "all", every domain an old one."""
    everything = drawn.everything
    evidence = log_evidence(np.asarray(everything.only_first), np.asarray(everything.only_second), alpha)
    return np.asarray(loses_nothing(drawn, alpha) & (evidence >= -np.log(alpha)), dtype=bool)


def records_of(drawn: Drawn, run: int) -> Pair:
    """One challenger and what is served, as evaluations with these counts; neither tells chances."""
    ours: list[bool] = []
    theirs: list[bool] = []
    for part in drawn.domains:
        first, second = int(np.asarray(part.only_first)[run]), int(np.asarray(part.only_second)[run])
        same = int(part.problems) - first - second
        ours += [True] * first + [False] * second + [True] * same
        theirs += [False] * first + [True] * second + [True] * same
    where = [name for name, part in zip(NAMES, drawn.domains, strict=True) for _ in range(int(part.problems))]
    unknown = [None] * len(where)
    return (
        make_record("a" * 64, ours, domains=where, p_correct=unknown),
        make_record("b" * 64, theirs, domains=where, p_correct=unknown),
    )


def terms_of(alpha: float, old: tuple[str, ...] = NAMES, carried: float = 0.0) -> NightTerms:
    """A first use of a sealed set; what is left of the budget decides nothing here."""
    return NightTerms(
        sealed_set="sealed-1",
        uses=1,
        uses_allowed=30,
        alpha=alpha,
        budget=BUDGET,
        nights=NIGHTS,
        budget_left=0.0,
        carried=carried,
        old_domains=old,
    )


def decides(drawn: Drawn, alpha: float, run: int) -> bool:
    """What `decide` says of one challenger."""
    return decide(*records_of(drawn, run), rule="nightly", claim=ALL, terms=terms_of(alpha)).promote


def false_months(
    rng: np.random.Generator, gains: tuple[float, ...], discordance: float, useful: float
) -> tuple[float, float]:
    """Share of runs with a false promotion, and of useful challengers that pass.

    Args:
        gains: of the false challengers.
        useful: share of nights whose challenger is better by three points in every domain instead.
    """
    wrong = np.zeros(RUNS, dtype=bool)
    good = good_passed = 0
    for _ in range(NIGHTS):
        is_useful = rng.random(RUNS) < useful
        passed = passes(draw(rng, gains, discordance, RUNS), SHARE)
        wrong |= passed & ~is_useful
        if useful:
            helped = passes(draw(rng, (0.03,) * 3, discordance, RUNS), SHARE) & is_useful
            good, good_passed = good + int(is_useful.sum()), good_passed + int(helped.sum())
    return float(wrong.mean()), good_passed / good if good else float("nan")


def false_by_night(rng: np.random.Generator, test: Callable[[Drawn], Bools], discordance: float) -> list[float]:
    """Share of runs that promoted something no better by each night."""
    wrong, shares = np.zeros(RUNS, dtype=bool), []
    for _ in range(NIGHTS):
        wrong |= test(draw(rng, NULL["no_better"], discordance, RUNS))
        shares.append(float(wrong.mean()))
    return shares


def looking_after_every_problem(rng: np.random.Generator) -> float:
    """Share of months with a false promotion where the spread bets are looked at after every problem that differs."""
    wrong = np.zeros(RUNS, dtype=bool)
    for _ in range(NIGHTS):
        won = rng.random((RUNS, 120)) < 0.5
        wealth = log_wealth(np.cumsum(won, axis=1), np.cumsum(~won, axis=1))
        wrong |= (wealth >= -np.log(SHARE)).any(axis=1)
    return float(wrong.mean())


def spending(rng: np.random.Generator, discordance: float, gain: float, useful: float) -> dict[str, float]:
    """Share of useful challengers that pass under several ways to spend the budget, evidence alone, false ones
    between."""
    slowly = 1.0 / np.arange(1, 10_000) ** 1.1
    slowly /= slowly.sum()
    ways: dict[str, Callable[[Float64, int, Float64], Float64]] = {
        "equal_shares": lambda left, night, found: np.minimum(left, SHARE),
        "a_tenth_of_what_is_left": lambda left, night, found: 0.1 * left,
        "e_lond": lambda left, night, found: BUDGET * slowly[night] * (found + 1),
    }
    results = {}
    for name, way in ways.items():
        spent, found = np.zeros((RUNS, NIGHTS)), np.zeros(RUNS)
        good = good_passed = 0
        for night in range(NIGHTS):
            is_useful = rng.random(RUNS) < useful
            levels = np.maximum(way(BUDGET - spent.sum(axis=1), night, found), 1e-9)
            passed = np.zeros(RUNS, dtype=bool)
            for worth, mask in ((gain, is_useful), (0.0, ~is_useful)):
                counts = draw(rng, (worth,) * 3, discordance, RUNS).everything
                first, second = np.asarray(counts.only_first), np.asarray(counts.only_second)
                evidence = np.array(
                    [log_evidence(b, c, a) for b, c, a in zip(first[mask], second[mask], levels[mask], strict=True)]
                )
                passed[mask] = evidence >= -np.log(levels[mask])
            spent[:, night] = levels
            found += passed
            good, good_passed = good + int(is_useful.sum()), good_passed + int((passed & is_useful).sum())
        results[name] = good_passed / good
    return results


def main() -> None:
    """Simulate and report."""
    rng = np.random.default_rng(17)
    figures: dict[str, float | str] = {}
    agreed, worst = [], 0.0
    for name, gains in NULL.items():
        by_discordance = {}
        for discordance in DISCORDANCE:
            alone, _ = false_months(rng, gains, discordance, 0.0)
            mixed, _ = false_months(rng, gains, discordance, 0.2)
            by_discordance[discordance] = alone
            worst = max(worst, alone, mixed)
            night = draw(rng, gains, discordance, ASKED)
            agreed += [decides(night, SHARE, run) == passes(night, SHARE)[run] for run in range(ASKED)]
        figures[f"false_months_{name}"] = _by(by_discordance)
    figures["months_without_a_false_promotion"] = round(1 - worst, 4)
    figures["months_without_a_false_promotion_looking_after_every_problem"] = round(
        1 - looking_after_every_problem(rng), 4
    )
    for points in (0.02, 0.03, 0.05):
        shares = {}
        for discordance in DISCORDANCE:
            night = draw(rng, (points,) * 3, discordance, 10 * RUNS)
            passed = passes(night, SHARE)
            shares[discordance] = float(passed.mean())
            agreed += [decides(night, SHARE, run) == passed[run] for run in range(ASKED)]
        figures[f"useful_pass_better_by_{100 * points:.0f}_points"] = _by(shares)
        once = {
            d: float(passes_once(list(draw(rng, (points,) * 3, d, 10 * RUNS).domains), "improve").mean())
            for d in DISCORDANCE
        }
        figures[f"useful_pass_under_improve_better_by_{100 * points:.0f}_points"] = _by(once)
    one_domain = {d: float(passes(draw(rng, (0.06, 0.0, 0.0), d, 10 * RUNS), SHARE).mean()) for d in DISCORDANCE}
    figures["useful_pass_better_by_6_points_in_one_domain"] = _by(one_domain)
    for useful, word in ((1 / 30, "one night in thirty"), (0.3, "three nights in ten")):
        _, share = false_months(rng, NULL["no_better"], 0.08, useful)
        figures[f"useful_pass_among_others_{word.replace(' ', '_')}"] = round(share, 3)
    improve = false_by_night(rng, lambda night: passes_once(list(night.domains), "improve"), 0.08)
    plain = false_by_night(rng, lambda night: np.asarray(night.everything.p_better() <= 0.05), 0.08)
    for name, shares_by_night in (("improve_every_night", improve), ("mcnemar_at_5_percent_every_night", plain)):
        figures[f"false_months_{name}"] = (
            f"night 7: {100 * shares_by_night[6]:.0f} %, 30: {100 * shares_by_night[-1]:.0f} %"
        )
    for useful, word in ((1 / 30, "rare"), (0.3, "frequent")):
        figures[f"spending_useful_pass_{word}"] = ", ".join(
            f"{way}: {100 * share:.0f} %" for way, share in spending(rng, 0.08, 0.02, useful).items()
        )
    figures["decide_agrees"] = float(np.mean(agreed))
    figures |= measure_told_chances(np.random.default_rng(18))
    report("nights", figures, TARGETS)


def _by(shares: dict[float, float]) -> str:
    return ", ".join(f"differing on {100 * d:.0f} %: {100 * share:.1f} %" for d, share in shares.items())


if __name__ == "__main__":
    main()
