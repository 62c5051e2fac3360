"""Elastic weight consolidation: a pull towards the weights of before, strongest where old data depends on them.

Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks" (https://arxiv.org/abs/1612.00796): the
penalty is lambda / 2 * sum of F_i (theta_i - theta_i*)^2 with F the diagonal of the Fisher information on old data.
Here F is the mean squared gradient of single chains' losses, divided by its own mean over all weights, so that lambda
means the same for every model.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Anchor:
    """Weights to be pulled towards, and how hard each is held; by the name of a parameter."""

    weights: dict[str, Tensor]
    importance: dict[str, Tensor]

    def penalty(self, model: nn.Module) -> Tensor:
        """Half the weighted squared distance of the model's weights from the anchor, a scalar with gradient."""
        total = torch.zeros((), device=next(model.parameters()).device)
        for name, parameter in model.named_parameters():
            if name in self.importance:
                total = total + (self.importance[name] * (parameter - self.weights[name]).square()).sum()
        return total / 2


def fisher_diagonal(model: nn.Module, losses: Iterable[Tensor]) -> dict[str, Tensor]:
    """Mean over samples of the squared gradient of each sample's loss, by the name of a trainable parameter.

    Args:
        losses: one scalar with gradient a sample, made when it is asked for.
    """
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    total = {name: torch.zeros_like(parameter) for name, parameter in trainable.items()}
    count = 0
    for loss in losses:
        gradients = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
        for name, gradient in zip(trainable, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient.square()
        count += 1
    return {name: value / max(count, 1) for name, value in total.items()}


def relative(fisher: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A diagonal divided by its mean over all weights, so that a strength means the same for every model."""
    mean = sum(float(value.sum()) for value in fisher.values()) / sum(value.numel() for value in fisher.values())
    return {name: value / mean if mean > 0 else value for name, value in fisher.items()}


def make_anchor(model: nn.Module, losses: Iterable[Tensor]) -> Anchor:
    """The anchor at the model's weights as they are now; importance is 1 on average over all trainable weights."""
    fisher = fisher_diagonal(model, losses)
    importance = relative(fisher)
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters() if name in fisher}
    return Anchor(weights, importance)
