"""Decide whether a candidate release may replace the current one. Pure: figures in, a decision out.

Building bundles and moving the pointer live in `rjepa.releases.bundle` and `rjepa.releases.pointer`.
"""

from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_MARGIN: Final = 0.02
"""About one standard error of a paired difference on 1 000 problems: a loss beyond it is unlikely to be chance."""


class Figures(BaseModel):
    """What the benchmark says of one release. Accuracies are shares in [0, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(description="dataset version whose test problems were used")
    num_problems: int = Field(ge=1)
    accuracy: float = Field(ge=0, le=1, description="of the way of choosing that is served (rerank)")
    by_method: dict[str, float] = Field(default_factory=dict, description="accuracy of every method, baselines too")
    by_domain: dict[str, float] = Field(default_factory=dict, description="accuracy of the served method per domain")
    diagnostics: dict[str, float] = Field(default_factory=dict, description="skill, RankMe, deviation, ...")
    diagnostics_passed: bool = Field(description="no collapse, and skill above the trivial predictors")


@dataclass(frozen=True)
class Decision:
    """`reason` is machine readable, `text` is for people, `numbers` are what was compared."""

    promote: bool
    reason: str
    text: str
    numbers: dict[str, float]


def decide(candidate: Figures, current: Figures | None, *, margin: float = DEFAULT_MARGIN) -> Decision:
    """Promote the first release whose diagnostics pass; a later one only if it is not worse by more than `margin`.

    `current` are the figures of the release that is served now, or None if there is none. Figures of different datasets
    are not comparable: measure the current release on the candidate's dataset first.
    """
    if not 0 <= margin < 1:
        raise ValueError(f"margin must lie in [0, 1), got {margin}")
    numbers = {
        "candidate_accuracy": candidate.accuracy,
        "margin": margin,
        "num_problems": candidate.num_problems,
    }
    if not candidate.diagnostics_passed:
        return Decision(False, "diagnostics_failed", "the world model's diagnostics failed", numbers)
    if current is None:
        return Decision(True, "first_release", "there was no release to compare with", numbers)
    if current.dataset != candidate.dataset:
        return Decision(
            False,
            "not_comparable",
            f"the current release was measured on {current.dataset}, the candidate on {candidate.dataset}",
            numbers,
        )
    difference = candidate.accuracy - current.accuracy
    numbers |= {"current_accuracy": current.accuracy, "difference": difference}
    compared = f"accuracy {candidate.accuracy:.3f} against {current.accuracy:.3f} (margin {margin:.3f})"
    if difference < -margin:
        return Decision(False, "worse_than_margin", f"the candidate is worse: {compared}", numbers)
    return Decision(True, "not_worse", f"the candidate is not worse: {compared}", numbers)
