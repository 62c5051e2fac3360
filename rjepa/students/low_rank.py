"""What a LoRA adds to a layer's products, for decoding steps that do not go through peft's modules.

Of a LoRA that was attached and not merged (`rjepa.students.lora.loading.attach_lora`), the base's weights stay where
they are and two thin matrices stand beside each. Layers that read the same states are multiplied side by side
(`rjepa.students.fused.Product`), and so are their thin matrices here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

_WITHIN = "base_layer"
"""peft's name for the layer that a LoRA stands beside."""


@dataclass(frozen=True)
class LowRank:
    """`states @ down @ up` is added to a product: down [in, rank] and up [rank, out], with the LoRA's scale in it."""

    down: Tensor
    up: Tensor

    def add_to(self, product: Tensor, states: Tensor) -> Tensor:
        """The product of the same states with what the LoRA adds, in the product's precision."""
        added = states.to(self.down.dtype) @ self.down @ self.up
        return (product + added).to(product.dtype)


def base_of(layer: Any) -> nn.Linear:
    """The base's layer below a LoRA's, or the layer itself."""
    return cast(nn.Linear, getattr(layer, _WITHIN, layer))


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer is the base's own, or has nothing beside it but one active pair of thin matrices."""
    whole: Any = layer
    if not hasattr(whole, _WITHIN):
        return True
    active = _active(whole)
    return not whole.disable_adapters and not whole.merged and len(active) <= 1 and not _has_more(whole, active)


def leaves(module: nn.Module) -> Iterator[nn.Module]:
    """The layers that multiply, norm or bend, and a LoRA's as a whole, where they stand in a module."""
    children = [] if hasattr(module, _WITHIN) else list(module.children())
    if not children:
        yield module
    for child in children:
        yield from leaves(child)


def low_rank_of(*layers: Any) -> LowRank | None:
    """What is added to the product of layers that read the same states, side by side; None where no LoRA does."""
    pairs = [_pair(layer) for layer in layers]
    found = [pair for pair in pairs if pair is not None]
    if not found:
        return None
    rank, width = sum(len(down.T) for down, _ in found), sum(base_of(layer).out_features for layer in layers)
    up = found[0][1].new_zeros(rank, width)
    row = column = 0
    for layer, pair in zip(layers, pairs, strict=True):
        size = base_of(layer).out_features
        if pair is not None:
            up[row : row + len(pair[1]), column : column + size] = pair[1]
            row += len(pair[1])
        column += size
    return LowRank(torch.cat([down for down, _ in found], dim=1).contiguous(), up)


def _pair(layer: Any) -> tuple[Tensor, Tensor] | None:
    """[in, rank] and [rank, out] of one layer, the scale in the latter."""
    if not hasattr(layer, _WITHIN) or not (active := _active(layer)):
        return None
    (name,) = active
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    return down.detach().T, up.detach().T * float(layer.scaling[name])


def _active(layer: Any) -> list[str]:
    return [name for name in layer.active_adapters if name in layer.lora_A]


def _has_more(layer: Any, active: list[str]) -> bool:
    """Whether more than two matrices change what comes out: DoRA, biases, inputs that lie the other way round."""
    biases = any(layer.lora_B[name].bias is not None or layer.lora_A[name].bias is not None for name in active)
    return biases or any(name in layer.lora_variant for name in active) or bool(layer.fan_in_fan_out)
