"""Refine a map through the frozen R-JEPA: what it makes of the mapped latents should be what it makes of the source's.

A small distance between latents is no small distance to R-JEPA: it looks along few directions. So the map is trained
on the error of R-JEPA's prediction, column by column, on both students' latents of the same chains; beside it on the
latents themselves, without which the map would make every chain easy to predict, and on R-JEPA's own loss. R-JEPA does
not move.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rjepa.adapters.maps import LatentMap
from rjepa.adapters.network import Network, descend, make_optimizers
from rjepa.adapters.pairs import Matched
from rjepa.jepa.batches import Assembler, Batch
from rjepa.jepa.losses import masked_mean, raw_error
from rjepa.jepa.masks import View, causal_view
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.latents.normalizer import CLIP

_SEGMENTS: Final = 0.6
"""Weight of the segments of chains in the distance between latents; the rest is that of the problems' sentences."""


@dataclass(frozen=True)
class RefineSettings:
    """How a map is refined. The values were chosen on validation problems (lab book, entry 53)."""

    updates: int = 300
    most_passes: int = 25
    """over the chains: few of them are read for fewer updates"""
    chains: int = 40
    """of an update"""
    rate: float = 0.005
    """highest learning rate, of Muon"""
    decay: float = 0.02
    error: float = 2.0
    """weight of the distance between prediction errors; that between latents has 1"""
    own: float = 0.0
    """weight of R-JEPA's own loss on the mapped latents of right chains"""

    def updates_for(self, chains: int) -> int:
        """Updates that a map is refined for on so many chains, at least one."""
        return max(1, min(self.updates, self.most_passes * chains // min(self.chains, chains)))


def can_refine(model: RJepa) -> bool:
    """Whether a model predicts raw latents step after step, as refining needs."""
    return model.config.encoder.causal and model.config.loss.raw > 0


def refine(
    start: LatentMap,
    matched: Matched,
    model: RJepa,
    settings: RefineSettings,
    seed: int,
) -> LatentMap:
    """Train a map with a network further, through the model.

    Args:
        start: its outputs are standardised by the model's own normaliser.
        matched: chains of both students, right and wrong ones.
        model: the source's R-JEPA, on the CPU; it is left as it is.
        seed: of the order of chains.

    Raises:
        ValueError: the map has no network, or the model predicts no raw latents.
    """
    if not can_refine(model):
        raise ValueError(f"config {model.config.name!r} predicts no raw latents step after step")
    config = model.config
    of_source = Reader.of(config, start.outputs)
    columns = of_source.columns
    whole = Reader(start.outputs, None, config.poolings)
    target = Assembler(matched.target, Reader(start.inputs, None, config.poolings), config, model.domain_names)
    source = Assembler(matched.source, whole, config, model.domain_names)
    usable = np.flatnonzero(matched.target.lengths >= 2)
    network = Network.of_map(start)
    optimizers = make_optimizers(network, settings.rate, settings.decay)
    random = np.random.default_rng(seed)
    size, updates = min(settings.chains, len(usable)), settings.updates_for(len(usable))
    for update in range(updates):
        chains = np.sort(random.choice(usable, size, replace=False))
        truth = source.gather(chains)
        mapped = _mapped(network, target.gather(chains))
        loss = _distance(mapped, truth)
        loss = loss + _through(model, _read(mapped, columns), _read(truth, columns), settings)
        descend(network, optimizers, loss, update / updates)
    return network.to_map()


def _mapped(network: Network, batch: Batch) -> Batch:
    """The target's batch with the source's latents, where there are any."""
    return replace(batch, latents=network(batch.latents), sentences=network(batch.sentences))


def _read(batch: Batch, columns: np.ndarray | None) -> Batch:
    """A batch as the model sees it: clipped, its own columns, 0 in the padding."""
    chosen = slice(None) if columns is None else torch.from_numpy(columns)
    latents, sentences = (
        torch.where(valid[..., None], rows[..., chosen].clamp(-CLIP, CLIP), 0.0)
        for rows, valid in ((batch.latents, batch.valid), (batch.sentences, batch.sentences_valid))
    )
    return replace(batch, latents=latents, sentences=sentences)


def _distance(mapped: Batch, truth: Batch) -> Tensor:
    """Mean squared distance of the latents."""
    segments = masked_mean((mapped.latents - truth.latents).square().mean(-1), truth.valid)
    if not truth.sentences.shape[1]:
        return segments
    sentences = masked_mean((mapped.sentences - truth.sentences).square().mean(-1), truth.sentences_valid)
    return _SEGMENTS * segments + (1 - _SEGMENTS) * sentences


def _through(model: RJepa, mapped: Batch, truth: Batch, settings: RefineSettings) -> Tensor:
    view = causal_view(truth.valid)
    with torch.no_grad():
        wanted = _errors(model, truth, view)
    found = _errors(model, mapped, view)
    loss = settings.error * masked_mean(F.smooth_l1_loss(found, wanted, reduction="none").mean(-1), view.targets)
    if settings.own > 0:
        right = view.targets & (truth.first_error[:, None] < 0)
        loss = loss + settings.own * masked_mean(raw_error(found, torch.zeros_like(found)), right)
    return loss


def _errors(model: RJepa, batch: Batch, view: View) -> Tensor:
    """Predicted minus observed raw latents [chains, segments, columns]."""
    raw = model.predict(batch, view)[0].raw
    assert raw is not None, "checked by can_refine"
    return raw - batch.latents
