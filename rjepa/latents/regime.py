"""Is a student neither too weak nor too strong for a choice among its answers to show anything? Targets and a verdict.

The figures themselves come from `Rollouts.regime`.
"""

from dataclasses import dataclass
from typing import Final

from rjepa.latents.rollouts import Rollouts

MEAN_AT_1: Final = (0.35, 0.65)
PASS_GAIN: Final = 0.20
MIXED_SHARE: Final = 0.40
FLAWED_SHARE: Final = 0.20
"""Share of right answers with a wrong step: above it, an answer says little about the steps that led to it."""


@dataclass(frozen=True)
class Regime:
    """Figures per domain, and what misses its target. Targets are held only against the curriculum."""

    figures: dict[str, dict[str, float]]
    misses: tuple[str, ...]
    applies: bool

    @property
    def is_met(self) -> bool:
        return not self.misses or not self.applies

    @property
    def text(self) -> str:
        if not self.applies:
            return "Not the curriculum: its level is reported as it is."
        return "; ".join(self.misses) or "Every domain is in the regime."

    def metadata(self) -> dict[str, float]:
        """Every figure under `<domain>_<name>`."""
        return {f"{domain}_{name}": value for domain, row in self.figures.items() for name, value in row.items()}


def judge_regime(rollouts: Rollouts) -> Regime:
    """Hold the figures of every domain against the targets."""
    figures = rollouts.regime()
    misses = [f"{domain}: {miss}" for domain, row in figures.items() for miss in _misses(row)]
    applies = all(problem.source == "curriculum" for problem in rollouts.problems)
    return Regime(figures, tuple(misses), applies)


def _misses(row: dict[str, float]) -> list[str]:
    low, high = MEAN_AT_1
    gain = row["pass_at_k"] - row["mean_at_1"]
    tests = [
        (low <= row["mean_at_1"] <= high, f"mean@1 {row['mean_at_1']:.2f}, expected {low} to {high}"),
        (gain >= PASS_GAIN, f"pass@K is {gain:.2f} above mean@1, expected {PASS_GAIN}"),
        (row["mixed_share"] >= MIXED_SHARE, f"{row['mixed_share']:.2f} of problems mixed, expected {MIXED_SHARE}"),
        (
            row["right_with_wrong_step"] <= FLAWED_SHARE,
            f"{row['right_with_wrong_step']:.2f} of right answers hold a wrong step, expected at most {FLAWED_SHARE}",
        ),
    ]
    return [text for held, text in tests if not held]
