"""A challenger that is offered again on one sealed set after another: what passes, sooner or later.

`python -m benchmarks.offered_again`, a minute, no model. The challenger claims a gain of five points in logic and has
it; in code it is as good as what is served, or worse. Losses are judged on the problems of all sets so far, with the
level of a bound divided by their number (the gate), or on each set alone (as it was before). Evidence is carried from
set to set in both. P(correct) is left out: `benchmarks.told_chances` has it.
"""

from typing import Final

import numpy as np

from benchmarks.nights import Drawn, loses_nothing, records_of, terms_of
from benchmarks.subject import report
from rjepa.arrays import Bools
from rjepa.evaluation.betting import log_evidence
from rjepa.evaluation.paired import PairedCounts
from rjepa.living.budget import BUDGET, NIGHTS
from rjepa.releases.gate import decide

RUNS: Final = 4000
SETS: Final = 4
PROBLEMS: Final = (500, 800)
DISCORDANCE: Final = (0.04, 0.08)
IN_LOGIC: Final = (0.05, 0.15)
"""Gain and discordance where the claim is."""
IN_CODE: Final = (0.0, -0.01, -0.02, -0.03, -0.05)
ASKED: Final = 20
"""Challengers of a setting whose case is also put to `decide`."""
OLD: Final = ("code", "math")
ALPHA: Final = BUDGET / NIGHTS

TARGETS: Final = {
    "equal_pass_within_four_sets": 0.9,
    "worse_by_3_stopped": 0.95,
    "worse_by_5_stopped": 0.99,
    "as_before_on_the_first_set": 1.0,
    "decide_agrees": 1.0,
}


def draw(rng: np.random.Generator, in_code: float, differ: float, problems: int) -> Drawn:
    """One set for all runs: code, logic and maths."""
    parts = []
    for gain, discordance in ((in_code, max(differ, abs(in_code))), IN_LOGIC, (0.0, differ)):
        shares = [(discordance + gain) / 2, (discordance - gain) / 2, 1 - discordance]
        counts = rng.multinomial(problems, shares, size=RUNS)
        parts.append(PairedCounts(problems, counts[:, 0], counts[:, 1]))
    return Drawn(tuple(parts))


def together(sets: list[Drawn]) -> Drawn:
    """The counts of all sets, domain by domain."""
    return Drawn(tuple(Drawn(parts).everything for parts in zip(*(one.domains for one in sets), strict=True)))


def within(sets: list[Drawn], *, all_sets: bool) -> list[Bools]:
    """Which challengers passed on the first set, within the first two, ..."""
    carried, passed, found = np.zeros(RUNS), np.zeros(RUNS, dtype=bool), []
    for number, here in enumerate(sets, 1):
        carried = _evidence(here, carried)
        judged, looks = (together(sets[:number]), number) if all_sets else (here, 1)
        passed = passed | (loses_nothing(judged, ALPHA, OLD, looks) & (carried >= -np.log(ALPHA)))
        found.append(passed)
    return found


def agrees(sets: list[Drawn], run: int) -> bool:
    """Whether `decide` says of the first two sets of a challenger what is computed here."""
    first, second = (records_of(one, run) for one in sets[:2])
    before = _evidence(sets[0], np.zeros(RUNS))
    terms = terms_of(ALPHA, OLD, float(before[run]))
    decision = decide(*second, rule="nightly", claim="logic", terms=terms, earlier=(first,))
    enough = _evidence(sets[1], before)[run] >= -np.log(ALPHA)
    return decision.promote == bool(loses_nothing(together(sets[:2]), ALPHA, OLD, 2)[run] and enough)


def main() -> None:
    """Draw every setting, print who passes, and the worst of each kind."""
    rng = np.random.default_rng(7)
    pooled: dict[float, list[list[float]]] = {gain: [] for gain in IN_CODE}
    alone: dict[float, list[list[float]]] = {gain: [] for gain in IN_CODE}
    agreed = []
    for gain in IN_CODE:
        for problems in PROBLEMS:
            for differ in DISCORDANCE:
                sets = [draw(rng, gain, differ, problems) for _ in range(SETS)]
                for shares, all_sets in ((pooled, True), (alone, False)):
                    shares[gain].append([float(each.mean()) for each in within(sets, all_sets=all_sets)])
                agreed += [agrees(sets, run) for run in range(ASKED)]
                print(
                    f"code {100 * gain:+.0f} points, {problems} problems a domain, {100 * differ:.0f} % differ: passes "
                    f"within 1, 2, 3, 4 sets {_by(pooled[gain][-1])}; as before {_by(alone[gain][-1])}",
                    flush=True,
                )
    rows = [pair for gain in IN_CODE for pair in zip(pooled[gain], alone[gain], strict=True)]
    figures: dict[str, float | str] = {
        "equal_pass_within_four_sets": min(row[-1] for row in pooled[0.0]),
        "worse_by_3_stopped": 1 - max(row[-1] for row in pooled[-0.03]),
        "worse_by_5_stopped": 1 - max(row[-1] for row in pooled[-0.05]),
        "as_before_on_the_first_set": 1 - max(abs(now[0] - before[0]) for now, before in rows),
        "decide_agrees": float(np.mean(agreed)),
        "before_equal_pass_within_four_sets": min(row[-1] for row in alone[0.0]),
        "before_worse_by_3_stopped": 1 - max(row[-1] for row in alone[-0.03]),
    }
    report("offered_again", figures, TARGETS)


def _evidence(drawn: Drawn, carried: np.ndarray) -> np.ndarray:
    """Logarithm of the evidence in logic, for all runs."""
    logic = drawn.domains[1]
    return np.asarray(log_evidence(np.asarray(logic.only_first), np.asarray(logic.only_second), ALPHA, carried))


def _by(row: list[float]) -> str:
    return " ".join(f"{share:.3f}" for share in row)


if __name__ == "__main__":
    main()
