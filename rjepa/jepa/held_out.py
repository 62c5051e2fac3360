"""The steps of right chains as plain rows, with what a model makes of them: what diagnostics and probes are fitted on.

Legend: N steps, W latent columns, D target states.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from rjepa.errors import InvalidInputError
from rjepa.jepa.batches import UNKNOWN_DOMAIN, Assembler, Batch
from rjepa.jepa.losses import latent_error, raw_error
from rjepa.jepa.model import RJepa, build_model
from rjepa.jepa.reader import Reader
from rjepa.latents.sets import LatentSet

_ROWS: Final = 12_000
_BATCH: Final = 256
_TENSORS: Final = (
    *("truth", "previous", "prefix", "loss", "states", "latents"),
    *("domains", "places", "unknown", "untrained"),
)


@dataclass(frozen=True)
class Steps:
    """Steps of right chains as rows: truth, what is known before, the model's loss. N steps on the CPU."""

    truth: Tensor
    previous: Tensor
    prefix: Tensor
    """[N, F]: mean of the prefix, last segment, prompt, domain, 1"""
    loss: Tensor
    states: Tensor
    latents: Tensor
    problems: np.ndarray
    domains: Tensor
    """[N], as the latents' own set numbers them"""
    places: Tensor
    """[N], from 1 for the first step"""
    unknown: Tensor
    """[N, D]: target states of the chains without their domain as input"""
    untrained: Tensor
    """[N, D]: the same by an encoder of this shape that was never trained"""
    probe: Batch
    raw: bool

    def error(self, predicted: Tensor, truth: Tensor) -> Tensor:
        return raw_error(predicted.expand_as(truth), truth) if self.raw else latent_error(predicted, truth)

    def where(self, chosen: Tensor) -> "Steps":
        rows = {name: getattr(self, name)[chosen] for name in _TENSORS}
        return Steps(**rows, problems=self.problems[chosen.numpy()], probe=self.probe, raw=self.raw)


@torch.no_grad()
def gather_steps(model: RJepa, reader: Reader, latents: LatentSet) -> Steps:
    assembler = Assembler(latents, reader, model.config, model.domain_names)
    right = assembler.right_chains()
    raw = model.config.loss.raw > 0
    fresh = _untrained(model)
    columns: dict[str, list[Tensor]] = {}
    count = 0
    for start in range(0, len(right), _BATCH):
        if count >= _ROWS:
            break
        batch = assembler.gather(right[start : start + _BATCH]).to(model.device)
        states = model.forward_target(batch)
        truth = batch.latents if raw else states
        seen = torch.arange(1, batch.valid.shape[1], device=model.device)[None, :, None]
        untold = replace(batch, domains=torch.full_like(batch.domains, UNKNOWN_DOMAIN))
        domain = torch.nn.functional.one_hot(batch.domains, len(model.domain_names) + 1).float()
        size = batch.valid.shape[1] - 1
        prefix = [
            batch.latents.cumsum(1)[:, :-1] / seen,
            batch.latents[:, :-1],
            batch.latents[:, :1].expand(-1, size, -1),
            domain[:, None].expand(-1, size, -1),
            torch.ones(len(domain), size, 1, device=model.device),
        ]
        keep = batch.valid[:, 1:]
        found = {
            "truth": truth[:, 1:],
            "previous": truth[:, :-1],
            "prefix": torch.cat(prefix, dim=-1),
            "loss": model.energies(batch, "raw" if raw else "latent")[:, 1:],
            "states": states[:, 1:],
            "latents": batch.latents[:, 1:],
            "problems": batch.problems[:, None].expand(-1, size),
            "domains": batch.domains[:, None].expand(-1, size),
            "places": torch.arange(1, size + 1, device=model.device).expand(len(domain), -1),
            "unknown": model.forward_target(untold)[:, 1:],
            "untrained": fresh.forward_target(untold)[:, 1:],
        }
        for name, values in found.items():
            columns.setdefault(name, []).append(values[keep].cpu())
        count += int(keep.sum())
    if not columns:
        raise InvalidInputError("no right chain to diagnose the model on", cure="use a dataset with validated chains")
    rows = {name: torch.cat(values) for name, values in columns.items()}
    problems = rows.pop("problems").numpy()
    return Steps(**rows, problems=problems, probe=assembler.gather(right[:32]).to(model.device), raw=raw)


def _untrained(model: RJepa) -> RJepa:
    """An encoder of the same shape with other first weights than the model's own."""
    config = model.config.model_copy(update={"seed": model.config.seed + 1})
    return build_model(config, model.width, model.domain_names).to(model.device).eval()
