"""Linear layers by oneDNN on CPUs where PyTorch's own choice takes half of what they can do: float32 on AMD's, and
bfloat16 where few rows are multiplied.

PyTorch hands float32 products to MKL, which on a CPU of another maker than Intel stays with AVX2. oneDNN, which PyTorch
carries too and keeps for lower precisions, asks what the CPU can do: 250 billion operations a second and thread instead
of 105 on an EPYC with AVX-512, and about as many as MKL where there is AVX2 alone. Results agree within rounding.

Where few rows are multiplied, as in writing chains, bringing the weights into the order that oneDNN wants costs up to
half of it: a second copy of them is kept in that order. PyTorch gives bfloat16 to oneDNN by itself, and has the same
copied into order with every product: 8 rows of a 0.5 B model took 130 ms so, and 80 with the copy.

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

from rjepa.precision import multiplies_bf16

LEAST_WORK: Final = 500_000
"""Multiplications of one product, below which the call itself costs as much, and MKL's is cheaper."""

_MAX_COPIED_BYTES: Final = 256 << 20
"""Bytes of a model's layers, above which no second copy is kept unless the caller has room for more: the stated memory
of a student does not count it."""


class _Packed:
    """A layer's weights in oneDNN's order, made when first needed and again when they changed. A copy of a layer begins
    with none.
    """

    def __init__(self) -> None:
        self._of: tuple[int, int] | None = None
        self._weight: Tensor | None = None

    def of(self, weight: Tensor) -> Tensor:
        now = weight.data_ptr(), 0 if weight.is_inference() else weight._version
        if self._weight is None or self._of != now:
            self._of, self._weight = now, torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        return self._weight

    def __deepcopy__(self, memo: dict[int, object]) -> "_Packed":
        return _Packed()


class OneDnnLinear(nn.Linear):
    """`nn.Linear` whose products without gradient, in float32 on the CPU, are oneDNN's from `least_work` on. All else
    is `nn.Linear`'s.
    """

    least_work: int = LEAST_WORK
    packed: _Packed | None = None
    """None where no second copy of the weights is kept."""

    def forward(self, input: Tensor) -> Tensor:
        if (
            torch.is_grad_enabled()
            or input.numel() * self.out_features < max(self.least_work, 1)
            or not (input.dtype == self.weight.dtype == torch.float32)
            or not (input.device.type == self.weight.device.type == "cpu")
            or torch.is_autocast_enabled("cpu")
        ):
            return super().forward(input)
        return packed_product(self, input)


def packed_product(layer: OneDnnLinear, input: Tensor) -> Tensor:
    """A layer's product by oneDNN, whatever its size."""
    weight = layer.weight if layer.packed is None else layer.packed.of(layer.weight)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(input, weight, layer.bias, "none", [], "")
    return product


def use_onednn(model: nn.Module, least_work: int = LEAST_WORK, bf16_room: int = 0) -> None:
    """Give a model's plain `nn.Linear` layers oneDNN's products, where PyTorch's own are slow. Weights stay.

    bf16_room: bytes that the second copy of a bfloat16 model's layers may take where it may be larger than others'. It
    serves `packed_product` alone.
    """
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    is_bf16 = bool(layers) and all(layer.weight.dtype == torch.bfloat16 for layer in layers)
    if not (_packs_bf16() if is_bf16 else mkl_is_slow()):
        return
    most = max(bf16_room, _MAX_COPIED_BYTES) if is_bf16 else _MAX_COPIED_BYTES
    small = sum(layer.weight.nbytes for layer in layers) <= most
    for layer in layers:
        layer.__class__ = OneDnnLinear
        assert isinstance(layer, OneDnnLinear)
        layer.least_work, layer.packed = least_work, _Packed() if small else None


@cache
def mkl_is_slow() -> bool:
    """Whether PyTorch's float32 products are MKL's, and the CPU is one that MKL holds back."""
    return _has_mkl_and_onednn() and "AuthenticAMD" in _cpu_maker()


def _packs_bf16() -> bool:
    return _has_mkl_and_onednn() and multiplies_bf16("cpu")


def _has_mkl_and_onednn() -> bool:
    """Whether this PyTorch carries both, as builds for x86 do, and oneDNN's two operations that are called here."""
    both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    return both and all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight"))


def _cpu_maker() -> str:
    linux = Path("/proc/cpuinfo")
    return linux.read_text() if linux.exists() else platform.processor()
