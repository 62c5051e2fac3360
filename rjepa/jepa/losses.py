"""The terms of the objective and the energies, as free functions on tensors. What enters them is chosen in `objective`.

Dimensions: `steps` are already selected, without padding; `*steps` may be padded; `width` is that of any space. All
float32.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def latent_error(
    predicted: Float[Tensor, "*steps width"], target: Float[Tensor, "*steps width"]
) -> Float[Tensor, "*steps"]:
    """L1 to layer-normed targets, mean over the width."""
    return (predicted - target).abs().mean(-1)


def raw_error(
    predicted: Float[Tensor, "*steps width"], observed: Float[Tensor, "*steps width"]
) -> Float[Tensor, "*steps"]:
    """Smooth-L1 to standardised raw latents, mean over the width. This is the energy."""
    return F.smooth_l1_loss(predicted, observed, reduction="none").mean(-1)


def masked_mean(values: Float[Tensor, "*steps"], mask: Bool[Tensor, "*steps"]) -> Float[Tensor, ""]:
    """Mean of values where mask is true; 0 where it never is."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def step_type_term(logits: Float[Tensor, "steps types"], types: Int[Tensor, " steps"]) -> Float[Tensor, ""]:
    """Cross-entropy, nats, of the types of steps under logits; 0 for no step."""
    return F.cross_entropy(logits, types, reduction="sum") / max(len(types), 1)


def variance_term(states: Float[Tensor, "steps width"]) -> Float[Tensor, ""]:
    """How far the deviation of each dimension of states falls below 1, averaged: what a collapse would raise."""
    deviation = (states.var(dim=0, unbiased=False) + 1e-4).sqrt()
    return F.relu(1 - deviation).mean()


def covariance_term(states: Float[Tensor, "steps width"]) -> Float[Tensor, ""]:
    """Sum of squared off-diagonal covariances of states, divided by the width."""
    centred = states - states.mean(0)
    covariance = centred.T @ centred / max(len(states) - 1, 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / states.shape[1]


def info_nce(
    positive: Float[Tensor, " steps"],
    negatives: Float[Tensor, "steps negatives"],
    usable: Bool[Tensor, "steps negatives"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of picking the true step among negatives.

    positive and negatives are cosines, usable says which negatives count. A query without any usable negative adds 0.
    """
    logits = torch.cat([positive[:, None], negatives.masked_fill(~usable, -torch.inf)], dim=1) / temperature
    return (logits.logsumexp(1) - logits[:, 0]).mean()


def rank_term(logits: Float[Tensor, " steps"], wrong: Bool[Tensor, " steps"]) -> Float[Tensor, ""]:
    """Binary cross-entropy of wrong-step logits, both classes weighted alike, so that few errors count too.

    A class without a member adds 0.
    """
    values = F.binary_cross_entropy_with_logits(logits, wrong.float(), reduction="none")
    return (masked_mean(values, ~wrong) + masked_mean(values, wrong)) / 2
