"""Float32 layers by oneDNN on AMD's CPUs, where PyTorch's own choice takes half of what they can do.

PyTorch hands float32 products to MKL, which on a CPU of another maker than Intel stays with AVX2. oneDNN, which PyTorch
carries too and keeps for lower precisions, asks what the CPU can do: 250 billion operations a second and thread instead
of 105 on an EPYC with AVX-512, and about as many as MKL where there is AVX2 alone. Results agree within rounding.

The first product of a new shape costs half a millisecond more. Students meet few shapes, over and over, or large ones.
R-JEPA meets small new ones where it scores a question at a time, and large ones where it scores many together: it
leaves the small ones with MKL.
"""

import platform
from functools import cache
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

LEAST_ROWS: Final = 16
"""Below these the call itself costs as much as the product, and MKL's is cheaper."""


class OneDnnLinear(nn.Linear):
    """`nn.Linear` whose products without gradient, in float32 on the CPU, are oneDNN's from `least_rows` rows on. All
    else is `nn.Linear`'s."""

    least_rows: int = LEAST_ROWS

    def forward(self, input: Tensor) -> Tensor:
        if (
            torch.is_grad_enabled()
            or input.numel() < self.least_rows * self.in_features
            or not (input.dtype == self.weight.dtype == torch.float32)
            or not (input.device.type == self.weight.device.type == "cpu")
            or torch.is_autocast_enabled("cpu")
        ):
            return super().forward(input)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")
        return product


def use_onednn(model: nn.Module, least_rows: int = LEAST_ROWS) -> None:
    """Give a model's plain `nn.Linear` layers oneDNN's products, where MKL's are slow. Weights stay as they are."""
    if mkl_is_slow():
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = OneDnnLinear
                module.least_rows = least_rows


@cache
def mkl_is_slow() -> bool:
    """Whether PyTorch's float32 products are MKL's, and the CPU is one that MKL holds back."""
    has_both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    return has_both and hasattr(torch.ops.mkldnn, "_linear_pointwise") and "AuthenticAMD" in _cpu_maker()


def _cpu_maker() -> str:
    linux = Path("/proc/cpuinfo")
    return linux.read_text() if linux.exists() else platform.processor()
