"""Muon in the precision that the machine multiplies natively.

`torch.optim.Muon` orthogonalises in bfloat16 wherever it runs. A CPU without instructions for that emulates every
product: an update of R-JEPA then takes 2.5 s instead of 0.45 (docs/lab-book/28-optimiser-without-bfloat16.md).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rjepa.precision import multiplies_bf16


class Muon(torch.optim.Muon):
    """As `torch.optim.Muon` with the original learning rate, but in float32 where bfloat16 is not native. Its
    hyperparameters, groups and state are that one's.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override] # no closure here
        """Move every matrix that has a gradient."""
        if closure is not None:
            raise ValueError("Muon takes no closure: backward first, then step")
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._move(matrix, matrix.grad, group)

    def _move(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        direction = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        rows, columns = matrix.shape
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(
            orthogonalised(direction, group["ns_coefficients"], group["ns_steps"], group["eps"]),
            alpha=-group["lr"] * math.sqrt(max(1, rows / columns)),
        )


def orthogonalised(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """About `U @ V.T` of a matrix's singular value decomposition, by a quintic Newton-Schulz iteration that leaves
    singular values between about 0.7 and 1.2 (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

    float32 [M, N] to [M, N], float32 or bfloat16.
    """
    a, b, c = coefficients
    native = torch.bfloat16 if multiplies_bf16(matrix.device.type) else torch.float32
    tall = matrix.shape[0] > matrix.shape[1]
    found = (matrix.T if tall else matrix).to(native)
    found = found / found.norm().clamp(min=eps)
    for _ in range(steps):
        gram = found @ found.T
        found = torch.addmm(found, torch.addmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.T if tall else found
