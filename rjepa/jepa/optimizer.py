"""Muon for the hidden matrices and AdamW for the rest, moved along the schedules. Which gradients they are given is
decided in `trainer`.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) orthogonalises a matrix's momentum, so that rare
directions are learnt as fast as frequent ones. On the same data and updates it halved the loss that AdamW left
(docs/lab-book/11-muon.md).
"""

from typing import Final

import torch
from torch import nn

from rjepa.jepa.config import OptimConfig
from rjepa.jepa.schedules import schedule, weight_decay
from rjepa.muon import Muon

Optimizers = tuple[torch.optim.Optimizer, ...]


_EMBEDDINGS: Final = ("domain", "embed")
"""In the names of tables whose rows are looked up: they are no matrices to Muon."""


def make_optimizers(model: nn.Module, config: OptimConfig) -> Optimizers:
    """One optimiser, AdamW, or Muon before it where the config has a rate for it. Only matrices decay: biases, norms,
    embeddings and the mask token do not.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    tables = {name for name, _ in named if any(word in name for word in _EMBEDDINGS)}
    matrices = [parameter for name, parameter in named if parameter.ndim >= 2 and name not in tables]
    others = [parameter for name, parameter in named if parameter.ndim < 2 or name in tables]
    rest = [{"params": others, "decays": False, "peak": config.learning_rate}]
    if config.matrix_rate is None:
        rest.insert(0, {"params": matrices, "decays": True, "peak": config.learning_rate})
    adamw = torch.optim.AdamW(rest, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)
    if config.matrix_rate is None:
        return (adamw,)
    groups = [{"params": matrices, "decays": True, "peak": config.matrix_rate}]
    return Muon(groups, lr=config.matrix_rate), adamw


def set_rates(optimizers: Optimizers, config: OptimConfig, update: int) -> None:
    """Learning rates and weight decay of an update (counted from 0)."""
    share = schedule(config, update)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
            group["weight_decay"] = weight_decay(config, update) if group["decays"] else 0.0
