"""What the gate lets through: challengers of a known worth, simulated, by how many problems were judged.

`python -m benchmarks.gate`, seconds. A challenger and the current release answer the same problems; on a share of them
(4, 8 or 16 %) only one of the two is right, and how that share is split makes the challenger equal, worse by three
points or better by three. Data sets have three domains of one size, or one. Shares are over 10 000 challengers, so that
luck moves them by little. The rules are those of `rjepa.releases.gate`, computed for all challengers at once; on a
sample of them `decide` itself is asked, and has to agree.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import norm

from benchmarks.subject import report
from rjepa.arrays import Bools
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.paired import PairedCounts
from rjepa.releases.findings import (
    LEVEL_BETTER,
    LEVEL_IN_DOMAIN,
    LEVEL_OVERALL,
    LOSS_IN_DOMAIN,
    LOSS_OVERALL,
    Rule,
)
from rjepa.releases.gate import decide
from tests.records import make_record

CHALLENGERS: Final = 10_000
ASKED: Final = 10
"""Challengers of a setting whose case is also put to `decide`: milliseconds each."""
PROBLEMS: Final = (150, 300, 600, 1050, 1500, 2100, 3000, 6000)
"""v1.0.0 has 1 050 test problems, v1.0.0-large 3 000."""
DISCORDANCE: Final = (0.04, 0.08, 0.16)
POINTS: Final = 0.03
RULES: Final[tuple[Rule, ...]] = ("replace", "improve")
NAMES: Final = ("code", "logic", "math")

TARGETS: Final = {
    "equal_refused_by_improve": 0.95,
    "worse_refused_by_replace": 0.99,
    "worse_refused_by_improve": 0.99,
    "worse_in_one_domain_refused_by_improve": 0.99,
    "decide_agrees": 1.0,
}
"""The least share over every number of problems, every discordance and both kinds of data sets."""


@dataclass(frozen=True)
class Setting:
    """Challengers of one worth. `gains` is the true difference in each domain, a share."""

    problems: int
    discordance: float
    gains: tuple[float, ...]

    def draw(self, rng: np.random.Generator) -> list[PairedCounts]:
        """Counts of every challenger, one entry a domain."""
        size = self.problems // len(self.gains)
        drawn = []
        for gain in self.gains:
            first, second = (self.discordance + gain) / 2, (self.discordance - gain) / 2
            counts = rng.multinomial(size, [first, second, 1 - first - second], size=CHALLENGERS)
            drawn.append(PairedCounts(size, counts[:, 0], counts[:, 1]))
        return drawn


def passes(domains: list[PairedCounts], rule: Rule) -> Bools:
    """What `decide` comes to for many challengers at once, the claim being "all"."""
    everything = PairedCounts(
        sum(int(part.problems) for part in domains),
        np.sum([part.only_first for part in domains], axis=0),
        np.sum([part.only_second for part in domains], axis=0),
    )
    passed = everything.z_against(-LOSS_OVERALL) > norm.isf(LEVEL_OVERALL)
    parts = domains if len(domains) > 1 else []
    for part in parts:
        passed &= part.z_against(-LOSS_IN_DOMAIN[rule]) > norm.isf(LEVEL_IN_DOMAIN)
    if rule == "improve":
        for part in [everything, *parts]:
            passed &= part.z_against(0.0) >= -norm.isf(0.025)
        passed &= everything.p_better() <= LEVEL_BETTER
    return np.asarray(passed, dtype=bool)


def asked(domains: list[PairedCounts], rule: Rule, number: int) -> bool:
    """What `decide` says of one challenger."""
    names = NAMES if len(domains) > 1 else ("math",)
    ours, theirs, where = [], [], []
    for name, part in zip(names, domains, strict=True):
        first, second = int(np.asarray(part.only_first)[number]), int(np.asarray(part.only_second)[number])
        same = int(part.problems) - first - second
        ours += [True] * first + [False] * second + [True] * same
        theirs += [False] * first + [True] * second + [True] * same
        where += [name] * int(part.problems)
    records = [make_record(letter * 64, right, domains=where) for letter, right in (("a", ours), ("b", theirs))]
    return decide(records[0], records[1], rule=rule, claim=ALL).promote


def main() -> None:
    """Simulate and report."""
    rng = np.random.default_rng(0)
    worth = {
        "equal": (0.0, 0.0, 0.0),
        "worse": (-POINTS,) * 3,
        "worse_in_one_domain": (-POINTS, 0.0, 0.0),
        "better": (POINTS,) * 3,
        "equal_one_domain_only": (0.0,),
        "worse_one_domain_only": (-POINTS,),
        "better_one_domain_only": (POINTS,),
    }
    promoted: dict[tuple[str, Rule, float, int], float] = {}
    agreed = []
    for name, gains in worth.items():
        for discordance in DISCORDANCE:
            for problems in PROBLEMS:
                domains = Setting(problems, discordance, gains).draw(rng)
                for rule in RULES:
                    passed = passes(domains, rule)
                    promoted[name, rule, discordance, problems] = float(passed.mean())
                    if problems == 1050:
                        agreed += [asked(domains, rule, n) == passed[n] for n in range(ASKED)]
    figures: dict[str, float | str] = {"decide_agrees": float(np.mean(agreed))}
    for rule in RULES:
        for name in ("equal", "worse", "worse_in_one_domain"):
            kinds = (name, f"{name}_one_domain_only")
            highest = max(share for key, share in promoted.items() if key[0] in kinds and key[1] == rule)
            figures[f"{name}_refused_by_{rule}"] = round(1 - highest, 4)
    for name in ("better", "equal"):
        for rule in RULES:
            for discordance in DISCORDANCE:
                shares = {problems: promoted[name, rule, discordance, problems] for problems in PROBLEMS}
                key = f"{name}_promoted_by_{rule}_differing_on_{100 * discordance:.0f}_percent"
                figures[key] = ", ".join(f"{problems}: {100 * share:.1f} %" for problems, share in shares.items())
                enough = [problems for problems, share in shares.items() if share >= 0.8]
                if name == "better" or rule == "replace":
                    figures[f"{key}_eight_in_ten_from"] = float(enough[0]) if enough else "more than 6000"
    report("gate", figures, TARGETS)


if __name__ == "__main__":
    main()
