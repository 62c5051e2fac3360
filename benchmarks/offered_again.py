"""A challenger that is offered again on one sealed set after another: what passes, sooner or later.

`python -m benchmarks.offered_again`, a minute, no model. The challenger claims a gain of five points in logic and has
it; in code it is as good as what is served, or worse. Losses are judged on the problems of all sets so far, with the
level of a bound divided by their number (the gate), or on each set alone (as it was before). Evidence is carried from
set to set in both. P(correct) is left out: `benchmarks.told_chances` has it.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from benchmarks.subject import report
from rjepa.evaluation.betting import log_evidence
from rjepa.evaluation.paired import PairedCounts
from rjepa.living.budget import BUDGET, NIGHTS
from rjepa.releases.findings import LEVEL_IN_DOMAIN, LEVEL_OVERALL, LOSS_IN_DOMAIN, LOSS_OVERALL, Pair
from rjepa.releases.gate import decide
from rjepa.releases.night import MONTHLY_LOSS_IN_DOMAIN, NightTerms
from tests.records import make_record

RUNS: Final = 4000
SETS: Final = 4
PROBLEMS: Final = (500, 800)
DISCORDANCE: Final = (0.04, 0.08)
IN_LOGIC: Final = (0.05, 0.15)
"""Gain and discordance where the claim is."""
CODE: Final = (0.0, -0.01, -0.02, -0.03, -0.05)
ASKED: Final = 20
"""Challengers of a setting whose case is also put to `decide`."""
NAMES: Final = ("code", "logic", "math")
ALPHA: Final = BUDGET / NIGHTS

TARGETS: Final = {
    "equal_pass_within_four_sets": 0.9,
    "worse_by_3_stopped": 0.95,
    "worse_by_5_stopped": 0.99,
    "as_before_on_the_first_set": 1.0,
    "decide_agrees": 1.0,
}

Counts = list[PairedCounts]
"""Of code, logic and maths, each for all runs."""


def draw(rng: np.random.Generator, gain: float, differ: float, problems: int) -> Counts:
    """One set, for all runs."""
    found = []
    for part, share in ((gain, max(differ, abs(gain))), IN_LOGIC, (0.0, differ)):
        shares = [(share + part) / 2, (share - part) / 2, 1 - share]
        counts = rng.multinomial(problems, shares, size=RUNS)
        found.append(PairedCounts(problems, counts[:, 0], counts[:, 1]))
    return found


def together(sets: list[Counts]) -> Counts:
    """The sets' counts, added up by domain."""
    return [_add([counts[domain] for counts in sets]) for domain in range(len(NAMES))]


def loses_nothing(counts: Counts, looks: int) -> npt.NDArray[np.bool_]:
    """Every clause of rule `nightly` on losses; code and maths are old domains, logic is new."""
    everything = _add(counts)
    holds = everything.z_against(-LOSS_OVERALL) > norm.isf(min(LEVEL_OVERALL / looks, ALPHA))
    for part in (counts[0], counts[2]):
        holds &= part.z_against(-LOSS_IN_DOMAIN["nightly"]) > norm.isf(LEVEL_IN_DOMAIN / looks)
        holds &= part.z_against(-MONTHLY_LOSS_IN_DOMAIN) > norm.isf(ALPHA)
    for part in (everything, *counts):
        holds &= part.z_against(0.0) >= -norm.isf(0.025)
    return np.asarray(holds, dtype=bool)


def within(sets: list[Counts], all_sets: bool) -> list[npt.NDArray[np.bool_]]:
    """Which challengers passed on the first set, within the first two, ..."""
    carried, passed, found = np.zeros(RUNS), np.zeros(RUNS, dtype=bool), []
    for number, here in enumerate(sets, 1):
        carried = log_evidence(np.asarray(here[1].only_first), np.asarray(here[1].only_second), ALPHA, carried)
        judged, looks = (together(sets[:number]), number) if all_sets else (here, 1)
        passed = passed | (loses_nothing(judged, looks) & (carried >= -np.log(ALPHA)))
        found.append(passed)
    return found


def agrees(sets: list[Counts], run: int) -> bool:
    """Whether `decide` says of the first two sets of a challenger what is computed here."""
    first, second = (_records(counts, run) for counts in sets[:2])
    carried = float(log_evidence(*_counts(sets[0][1], run), ALPHA, 0.0))
    decision = decide(*second, rule="nightly", claim="logic", terms=_terms(carried), earlier=(first,))
    evidence = float(log_evidence(*_counts(sets[1][1], run), ALPHA, carried))
    expected = bool(loses_nothing(together(sets[:2]), 2)[run]) and evidence >= -np.log(ALPHA)
    return decision.promote == expected


def main() -> None:
    rng = np.random.default_rng(7)
    shares: dict[tuple[float, bool], list[list[float]]] = {}
    agreed = []
    for gain in CODE:
        for problems in PROBLEMS:
            for differ in DISCORDANCE:
                sets = [draw(rng, gain, differ, problems) for _ in range(SETS)]
                rows = {kind: [float(each.mean()) for each in within(sets, kind)] for kind in (True, False)}
                for kind, row in rows.items():
                    shares.setdefault((gain, kind), []).append(row)
                agreed += [agrees(sets, run) for run in range(ASKED)]
                print(
                    f"code {100 * gain:+.0f} points, {problems} problems a domain, {100 * differ:.0f} % differ: passes "
                    f"within 1, 2, 3, 4 sets {_by(rows[True])}; as before {_by(rows[False])}",
                    flush=True,
                )
    first = [abs(one[0] - two[0]) for gain in CODE for one, two in zip(*_both(shares, gain), strict=True)]
    figures: dict[str, float | str] = {
        "equal_pass_within_four_sets": min(row[-1] for row in shares[0.0, True]),
        "worse_by_3_stopped": 1 - max(row[-1] for row in shares[-0.03, True]),
        "worse_by_5_stopped": 1 - max(row[-1] for row in shares[-0.05, True]),
        "as_before_on_the_first_set": 1 - max(first),
        "decide_agrees": float(np.mean(agreed)),
        "before_equal_pass_within_four_sets": min(row[-1] for row in shares[0.0, False]),
        "before_worse_by_3_stopped": 1 - max(row[-1] for row in shares[-0.03, False]),
    }
    report("offered_again", figures, TARGETS)


def _add(parts: list[PairedCounts]) -> PairedCounts:
    return PairedCounts(
        sum(int(part.problems) for part in parts),
        np.sum([part.only_first for part in parts], axis=0),
        np.sum([part.only_second for part in parts], axis=0),
    )


def _both(shares: dict[tuple[float, bool], list[list[float]]], gain: float) -> tuple[list[list[float]], ...]:
    return shares[gain, True], shares[gain, False]


def _by(row: list[float]) -> str:
    return " ".join(f"{share:.3f}" for share in row)


def _counts(part: PairedCounts, run: int) -> tuple[int, int]:
    return int(np.asarray(part.only_first)[run]), int(np.asarray(part.only_second)[run])


def _records(counts: Counts, run: int) -> Pair:
    ours: list[bool] = []
    theirs: list[bool] = []
    where: list[str] = []
    for name, part in zip(NAMES, counts, strict=True):
        first, second = _counts(part, run)
        same = int(part.problems) - first - second
        ours += [True] * first + [False] * second + [True] * same
        theirs += [False] * first + [True] * second + [True] * same
        where += [name] * int(part.problems)
    unknown = [None] * len(where)
    one, two = (
        make_record(key * 64, right, domains=where, p_correct=unknown) for key, right in (("a", ours), ("b", theirs))
    )
    return one, two


def _terms(carried: float) -> NightTerms:
    return NightTerms(
        sealed_set="sealed-2",
        uses=1,
        uses_allowed=30,
        alpha=ALPHA,
        budget=BUDGET,
        nights=NIGHTS,
        budget_left=0.0,
        carried=carried,
        old_domains=("code", "math"),
    )


if __name__ == "__main__":
    main()
