"""From an expected latent to an edit of a student's hidden states: h <- (1 - weight) * h + weight * W_out(expected).

A latent is poolings of hidden states side by side, so that the mean of a step's states, as R-JEPA expects it, is a
hidden state of the student's own: W_out takes that block out. Where edits take hold is `rjepa.students.tap`'s matter.

Dimensions: columns of latents that R-JEPA reads, hidden size of the student.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Hidden = Float[Tensor, " hidden"]


def expected_state(latent: Float[Tensor, " columns"], poolings: Sequence[str]) -> Hidden:
    """The mean hidden state of the step that is expected, in the student's own space: the block of the mean, or the
    first one where there is none.

    Args:
        latent: the expected latent, no longer standardised.
        poolings: what stands side by side in it.
    """
    if len(latent) % len(poolings):
        raise ValueError(f"expected a latent of {len(poolings)} blocks, got {len(latent)} columns")
    size = len(latent) // len(poolings)
    at = poolings.index("mean") if "mean" in poolings else 0
    return latent[at * size : (at + 1) * size]


def blend(expected: Hidden, weight: float) -> Callable[[Hidden], Hidden]:
    """The edit that moves each state by this weight, 0 to 1, towards an expected one."""
    if not 0 <= weight <= 1:
        raise ValueError(f"expected a weight between 0 and 1, got {weight}")

    def edit(state: Hidden) -> Hidden:
        return torch.lerp(state.float(), expected.to(state.device).float(), weight).to(state.dtype)

    return edit
