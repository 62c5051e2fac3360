"""Elastic weight consolidation for a LoRA: what it adds to a matrix is held back where old chains depend on it.

A LoRA starts at 0 and its own parameters carry no information about old data; the base's matrices do. So the Fisher
information is the matrices', and the pull is on the product B A that is added to each: half the weight times the sum of
F_i (BA)_i^2. The paper and the diagonal itself are `rjepa.ewc`'s.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from rjepa.errors import InvalidInputError
from rjepa.ewc import fisher_diagonal, relative


@dataclass(frozen=True)
class MatrixAnchor:
    """How hard each of the base's matrices is held, by the name of its LoRA layer; 1 on average over all numbers."""

    importance: Mapping[str, Tensor]

    def penalty(self, model: nn.Module, adapter: str = "default") -> Tensor:
        """Half the weighted squared change of the base's matrices, a scalar with gradient."""
        total = torch.zeros((), device=next(model.parameters()).device)
        for name, layer in lora_layers(model).items():
            total = total + (self.importance[name] * layer.get_delta_weight(adapter).square()).sum()
        return total / 2


def lora_layers(model: nn.Module) -> dict[str, Any]:
    """Peft's layers of a model by name. They have no types."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def anchor_matrices(model: nn.Module, losses: Iterable[Tensor]) -> MatrixAnchor:
    """The anchor at the base's matrices, while the LoRA is still 0.

    Args:
        losses: one scalar with gradient an old chain, made when it is asked for.

    Raises:
        InvalidInputError: the matrices are quantised, and have no gradient.
    """
    weights = {name: cast(Tensor, layer.get_base_layer().weight) for name, layer in lora_layers(model).items()}
    if any(not weight.is_floating_point() for weight in weights.values()):
        raise InvalidInputError(
            "EWC needs plain matrices, and these are quantised", cure="use replay, and ewc.weight 0"
        )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    held = list(weights.values())
    _switch(trained, held)
    try:
        fisher = relative(fisher_diagonal(model, losses))
    finally:
        _switch(held, trained)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return MatrixAnchor({name: fisher[names[id(weight)]] for name, weight in weights.items()})


def _switch(off: Iterable[Tensor], on: Iterable[Tensor]) -> None:
    for parameter in off:
        parameter.requires_grad_(False)
    for parameter in on:
        parameter.requires_grad_(True)
