"""What can be read linearly from the frozen states of the target encoder, beside what one that was never trained holds.

A probe says that something is there, not that it is used. Its control is an untrained encoder of the same shape: random
features of the latents already hold much of what the latents hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rjepa.jepa.held_out import Steps
from rjepa.jepa.ridge import ridge


@dataclass(frozen=True)
class Probe:
    """Shares of held-out steps whose class was named, the likeliest class of the fitted steps for `chance`."""

    accuracy: float
    untrained: float
    chance: float


def probe_accuracy(parts: Sequence[tuple[Steps, Steps]], column: str) -> Probe:
    """Probe for "domains" or "places". parts: of each fold, the steps to fit on and those to test."""
    right = {"unknown": 0, "untrained": 0, "chance": 0}
    count = 0
    for fit, test in parts:
        fitted, asked = getattr(fit, column), getattr(test, column)
        classes, labels = fitted.unique(return_inverse=True)
        for states in ("unknown", "untrained"):
            named = classes[_classify(getattr(fit, states), labels, getattr(test, states), len(classes))]
            right[states] += int((named == asked).sum())
        right["chance"] += int((classes[labels.bincount().argmax()] == asked).sum())
        count += len(asked)
    return Probe(*(right[name] / count for name in ("unknown", "untrained", "chance")))


def _classify(
    states: Float[Tensor, "steps width"],
    labels: Int[Tensor, " steps"],
    queries: Float[Tensor, "queries width"],
    classes: int,
) -> Int[Tensor, " queries"]:
    """Ridge regression on one-hot labels, the largest output wins."""
    wanted = torch.nn.functional.one_hot(labels, classes).float()
    return ridge(_with_one(states), wanted, _with_one(queries)).argmax(1)


def _with_one(states: Float[Tensor, "steps width"]) -> Float[Tensor, "steps width+1"]:
    return torch.cat([states, states.new_ones(len(states), 1)], dim=1)
