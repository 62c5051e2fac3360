"""The terms of the objective and the energies, as free functions on tensors. What enters them is chosen in `objective`.

Legend: N steps (already selected, no padding), D a space's width, B chains, S segments. All float32.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def latent_error(predicted: Tensor, target: Tensor) -> Tensor:
    """L1 to layer-normed targets, mean over the last axis: [..., D] -> [...]."""
    return (predicted - target).abs().mean(-1)


def raw_error(predicted: Tensor, observed: Tensor) -> Tensor:
    """Smooth-L1 to standardised raw latents, mean over the last axis: [..., D] -> [...]. This is the energy."""
    return F.smooth_l1_loss(predicted, observed, reduction="none").mean(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values where mask (bool, same shape) is true; 0 where it never is."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def step_type_term(logits: Tensor, types: Tensor) -> Tensor:
    """Cross-entropy, nats, of the types (int64 [N]) of steps under logits [N, types]; 0 for no step."""
    return F.cross_entropy(logits, types, reduction="sum") / max(len(types), 1)


def variance_term(states: Tensor) -> Tensor:
    """How far the deviation of each dimension of [N, D] falls below 1, averaged: what a collapse would raise."""
    deviation = (states.var(dim=0, unbiased=False) + 1e-4).sqrt()
    return F.relu(1 - deviation).mean()


def covariance_term(states: Tensor) -> Tensor:
    """Sum of squared off-diagonal covariances of [N, D], divided by D."""
    centred = states - states.mean(0)
    covariance = centred.T @ centred / max(len(states) - 1, 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / states.shape[1]


def info_nce(positive: Tensor, negatives: Tensor, usable: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of picking the true step among negatives.

    positive [N] and negatives [N, M] are cosines, usable bool [N, M] says which negatives count. A query without any
    usable negative adds 0.
    """
    logits = torch.cat([positive[:, None], negatives.masked_fill(~usable, -torch.inf)], dim=1) / temperature
    return (logits.logsumexp(1) - logits[:, 0]).mean()


def rank_term(logits: Tensor, wrong: Tensor) -> Tensor:
    """Binary cross-entropy of wrong-step logits [N], both classes weighted alike, so that few errors count too.

    wrong is bool [N]. A class without a member adds 0.
    """
    values = F.binary_cross_entropy_with_logits(logits, wrong.float(), reduction="none")
    return (masked_mean(values, ~wrong) + masked_mean(values, wrong)) / 2
