"""Is a trained R-JEPA worth using: skill over trivial predictors, collapse, leaks. Measurements with plain verdicts.

Skill is 1 - loss / trivial loss on the right chains of a held-out set. Without skill over ridge regression on the
prefix nothing downstream can work. Choosing between chains is judged in `rjepa.evaluation`.
"""

import copy
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor

from rjepa.errors import InvalidInputError
from rjepa.jepa.batches import Batch
from rjepa.jepa.held_out import gather_steps
from rjepa.jepa.model import RJepa, build_model
from rjepa.jepa.objective import objective
from rjepa.jepa.probes import Probe, probe_accuracy
from rjepa.jepa.reader import Reader
from rjepa.jepa.ridge import ridge
from rjepa.latents.sets import LatentSet

LEAK_TOLERANCE: Final = 1e-3
"""Predictions are of order 1 and float32 rounding moves them by 1e-6; a leak moves them by 1e-1."""
RANK_FLOOR: Final = 0.05
"""Share of the encoder's width: an effective rank below it means that most directions are unused, unless ..."""
RANK_FLOOR_OF_LATENTS: Final = 0.25
"""... the latents have few directions themselves: then this share of their own effective rank is enough."""
DEVIATION_FLOOR: Final = 0.1
"""States are layer-normed to size 1 a dimension; a collapsed encoder gives each dimension one value everywhere."""


@dataclass(frozen=True)
class Diagnostics:
    """Losses are means over held-out steps in the space of the model's own energy (raw latents, or EMA targets)."""

    steps: int
    loss: float
    loss_of_mean: float
    loss_of_copy: float
    loss_of_ridge: float
    rankme: float
    """effective rank of the target encoder's states"""
    rankme_of_latents: float
    """that of the standardised latents themselves, for comparison"""
    deviation: float
    """mean over dimensions of the states' standard deviation"""
    encoder_width: int
    leak: float
    """largest change of a prediction when its own segment and all later ones are replaced"""
    target_has_gradient: bool
    unmoved: int
    """trainable parameters that still have their first value"""
    domain_probe: Probe
    """how often a linear probe of the frozen states, without the domain as input, names it"""
    step_probe: Probe
    """how often one names the number of the step, which is an input of every encoder"""

    @property
    def skill_over_mean(self) -> float:
        return 1 - self.loss / self.loss_of_mean

    @property
    def skill_over_copy(self) -> float:
        return 1 - self.loss / self.loss_of_copy

    @property
    def skill_over_ridge(self) -> float:
        return 1 - self.loss / self.loss_of_ridge

    @property
    def skilful(self) -> bool:
        """Better than all three trivial predictors."""
        return min(self.skill_over_mean, self.skill_over_copy, self.skill_over_ridge) > 0

    @property
    def collapsed(self) -> bool:
        floor = min(RANK_FLOOR * self.encoder_width, RANK_FLOOR_OF_LATENTS * self.rankme_of_latents)
        return self.rankme < floor or self.deviation < DEVIATION_FLOOR

    @property
    def leaks(self) -> bool:
        return self.leak > LEAK_TOLERANCE

    def metadata(self) -> dict[str, int | float | bool]:
        """Every number and verdict, by name."""
        names = ("skill_over_mean", "skill_over_copy", "skill_over_ridge", "skilful", "collapsed", "leaks")
        numbers = {name: value for name, value in asdict(self).items() if not isinstance(value, dict)}
        for name, probe in (("domain_probe", self.domain_probe), ("step_probe", self.step_probe)):
            numbers |= {name: probe.accuracy, f"{name}_untrained": probe.untrained, f"{name}_chance": probe.chance}
        return {**numbers, **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Those that `asdict` gave.

        Raises:
            TypeError, KeyError: the values are not a whole set of measurements.
        """
        probes = {name: Probe(**values[name]) for name in ("domain_probe", "step_probe")}
        return cls(**{**values, **probes})


def diagnose(model: RJepa, reader: Reader, validation: LatentSet, fit_on: LatentSet | None = None) -> Diagnostics:
    """Measure a model on the right chains of `validation` (at most 12 000 steps, the first ones).

    Args:
        fit_on: where the trivial predictors are fitted, best the train set. None: on the other half of the problems.

    Raises:
        InvalidInputError: the set has too few right chains to measure anything.
    """
    held_out = gather_steps(model, reader, validation)
    if len(np.unique(held_out.problems)) < 4:
        raise InvalidInputError(
            "fewer than 4 problems with a right chain to diagnose the model on",
            cure="use a dataset with a larger validation split",
        )
    if fit_on is None:
        half = torch.from_numpy(np.unique(held_out.problems, return_inverse=True)[1] % 2 == 0)
        parts = [(held_out.where(half), held_out.where(~half)), (held_out.where(~half), held_out.where(half))]
    else:
        parts = [(gather_steps(model, reader, fit_on), held_out)]
    error = held_out.error
    losses = {name: 0.0 for name in ("model", "mean", "copy", "ridge")}
    for fit, test in parts:
        losses["model"] += float(test.loss.sum())
        losses["mean"] += float(error(fit.truth.mean(0), test.truth).sum())
        losses["copy"] += float(error(test.previous, test.truth).sum())
        losses["ridge"] += float(error(ridge(fit.prefix, fit.truth, test.prefix), test.truth).sum())
    count = len(held_out.truth)
    probe = held_out.probe
    return Diagnostics(
        steps=count,
        loss=losses["model"] / count,
        loss_of_mean=losses["mean"] / count,
        loss_of_copy=losses["copy"] / count,
        loss_of_ridge=losses["ridge"] / count,
        rankme=rankme(held_out.states[:4096]),
        rankme_of_latents=rankme(held_out.latents[:4096]),
        deviation=float(held_out.states.std(dim=0).mean()),
        encoder_width=model.config.encoder.width,
        leak=measure_leak(model, probe),
        target_has_gradient=target_has_gradient(model, probe),
        unmoved=len(unmoved_parameters(model)),
        domain_probe=probe_accuracy(parts, "domains"),
        step_probe=probe_accuracy(parts, "places"),
    )


def rankme(states: Tensor) -> float:
    """Effective rank of rows [N, D]: exp of the entropy of the normalised singular values (Garrido et al., 2023)."""
    values = torch.linalg.svdvals(states.double())
    shares = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(shares * (shares + 1e-12).log()).sum()))


def measure_leak(model: RJepa, batch: Batch) -> float:
    """Largest change of the expectation of a segment when it and everything after it is replaced by noise.

    0 up to rounding for a model that is fit for ranking; the bidirectional baseline is not, and shows it.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch.latents.shape, generator=generator).to(batch.latents.device)
    before, largest = model.expectation(batch), 0.0
    for position in range(1, batch.valid.shape[1]):
        later = torch.arange(batch.valid.shape[1], device=noise.device)[:, None] >= position
        changed = replace(batch, latents=torch.where(later, noise, batch.latents))
        after = model.expectation(changed)
        exists = batch.valid[:, position]
        for old, new in ((before.latent, after.latent), (before.raw, after.raw)):
            if old is not None and new is not None and exists.any():
                largest = max(largest, float((old - new)[exists, position].abs().max()))
    return largest


def target_has_gradient(model: RJepa, batch: Batch) -> bool:
    """True if the loss would push on the target encoder, were it allowed to move. The model is left untouched."""
    trial = copy.deepcopy(model).requires_grad_(True)
    with torch.enable_grad():
        terms = objective(trial, batch, None, torch.empty(0, dtype=torch.int64), torch.Generator().manual_seed(0))
        terms["total"].backward()
    return any(parameter.grad is not None for parameter in trial.target.parameters())


def unmoved_parameters(model: RJepa) -> list[str]:
    """Names of trainable parameters that are still what the config's seed made them (all of them after no update)."""
    fresh = build_model(model.config, model.width, model.domain_names)
    first = {name: parameter for name, parameter in fresh.named_parameters() if parameter.requires_grad}
    now = dict(model.named_parameters())
    return [name for name, parameter in first.items() if torch.equal(parameter, now[name].cpu())]
