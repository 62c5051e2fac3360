"""AdamW over what is trainable, moved along the schedules. Which gradients it is given is decided in `trainer`."""

import torch

from rjepa.jepa.config import OptimConfig
from rjepa.jepa.model import RJepa
from rjepa.jepa.schedules import learning_rate, weight_decay


def make_optimizer(model: RJepa, config: OptimConfig) -> torch.optim.Optimizer:
    """AdamW; only matrices decay (biases, norms, embeddings and the mask token do not)."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    matrices = [parameter for name, parameter in named if parameter.ndim >= 2 and "domain" not in name]
    others = [parameter for name, parameter in named if parameter.ndim < 2 or "domain" in name]
    groups = [{"params": matrices, "decays": True}, {"params": others, "decays": False}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)


def set_rates(optimizer: torch.optim.Optimizer, config: OptimConfig, update: int) -> None:
    """Learning rate and weight decay of an update (counted from 0)."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, update)
        group["weight_decay"] = weight_decay(config, update) if group["decays"] else 0.0
