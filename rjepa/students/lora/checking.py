"""Whether a training has done what it is for, by its validation losses. Whether the student answers better is asked by
`rjepa.releases.student_gate`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MOST_FORGOTTEN: Final = 0.25
"""Share that the loss of old chains may rise by. Where it rose by a fifth (LoRAs with replay), tiny-a's accuracy on old
problems fell by one to four points; without replay it rose twentyfold and nothing was left (lab book, entries 55, 76).
"""


@dataclass(frozen=True)
class LossCheck:
    """Whether new chains are likelier than before and old ones not much less, in words and as shares."""

    passed: bool
    text: str
    figures: dict[str, float]


def judge_losses(figures: Mapping[str, Any]) -> LossCheck:
    """Judge the figures that the stage reported: `loss_new`, `loss_old` and both of the base."""
    change = {
        f"change_{kind}": float(figures[f"loss_{kind}"]) / float(figures[f"loss_{kind}_base"]) - 1
        for kind in ("new", "old")
        if f"loss_{kind}" in figures
    }
    is_better = change["change_new"] < 0
    keeps = change.get("change_old", 0.0) <= MOST_FORGOTTEN
    words = ", ".join(f"loss of {name.removeprefix('change_')} chains {share:+.1%}" for name, share in change.items())
    return LossCheck(is_better and keeps, words, change)
