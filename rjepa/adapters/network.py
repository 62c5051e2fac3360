"""Fit what a small network adds to an affine map, by gradient on pairs.

Affine maps end at a ceiling that more pairs do not lift (docs/lab-book/53-adapters-tiny-a-and-tiny-b.md):
two students keep the same number in other, curved places. The network starts from the affine fit and learns the rest.

Legend: N pairs, I and O columns of the inputs and of the outputs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rjepa.adapters.maps import LatentMap, Layer, Residual
from rjepa.arrays import Float32
from rjepa.muon import Muon

_WARMUP: Final = 0.05
_LAST_RATE: Final = 0.02
"""The learning rate rises over the first part of the updates and falls to this share of its highest, by a cosine."""

_BIAS_RATE: Final = 0.1
"""Of AdamW for the biases, as a share of Muon's rate for the matrices."""


@dataclass(frozen=True)
class NetworkSettings:
    """Shape of a network and how it is trained. The values were chosen on validation problems (lab book, entry 53)."""

    hidden: int = 512
    """units, at most: no more than four times the columns of the wider space"""
    inner: int = 1
    """layers between the first and the last"""
    updates: int = 1000
    most_passes: int = 60
    """over the pairs: few of them are trained on for fewer updates"""
    batch: int = 256
    rate: float = 0.03
    """highest learning rate, of Muon"""
    decay: float = 0.05
    noise: float = 0.3
    """deviation of what is added to each standardised input, so that few pairs are not learnt by heart"""

    def hidden_between(self, width_in: int, width_out: int) -> int:
        """Units of a network between two spaces."""
        return min(self.hidden, 4 * max(width_in, width_out))

    def updates_for(self, pairs: int) -> int:
        """Updates that so many pairs are trained on for, at least one."""
        return max(1, min(self.updates, self.most_passes * pairs // min(self.batch, pairs)))


class Network(nn.Module):
    """An affine map with a residual network, between standardised latents; `to_map` is what is kept of it."""

    def __init__(self, start: LatentMap, hidden: int, inner: int, generator: torch.Generator) -> None:
        super().__init__()
        width_in, width_out = start.width_in, start.width_out
        self.start = start
        self.affine = nn.Linear(width_in, width_out)
        self.up = nn.Linear(width_in, hidden)
        self.inner = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(inner))
        self.down = nn.Linear(hidden, width_out, bias=False)
        with torch.no_grad():
            for layer in (self.up, *self.inner):
                assert isinstance(layer, nn.Linear)
                nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
                layer.bias.zero_()
            self.down.weight.zero_()
            self.affine.weight.copy_(torch.from_numpy(start.weight.T))
            self.affine.bias.copy_(torch.from_numpy(start.bias))

    @classmethod
    def of_map(cls, fitted: LatentMap) -> Self:
        """The network of a map that has a residual, to be trained further.

        Raises:
            ValueError: it has none.
        """
        if fitted.residual is None:
            raise ValueError("an affine map has no network")
        residual = fitted.residual
        network = cls(fitted, residual.down.shape[0], len(residual.inner), torch.Generator().manual_seed(0))
        with torch.no_grad():
            for layer, kept in zip((network.up, *network.inner), (residual.up, *residual.inner), strict=True):
                assert isinstance(layer, nn.Linear)
                layer.weight.copy_(torch.from_numpy(kept.weight.T))
                layer.bias.copy_(torch.from_numpy(kept.bias))
            network.down.weight.copy_(torch.from_numpy(residual.down.T))
        return network

    def forward(self, standard: Tensor) -> Tensor:
        """float32 [..., I] to [..., O]."""
        hidden = F.silu(self.up(standard))
        for layer in self.inner:
            hidden = hidden + F.silu(layer(hidden))
        mapped: Tensor = self.affine(standard) + self.down(hidden)
        return mapped

    def to_map(self) -> LatentMap:
        """The same map, for numpy."""
        layers = tuple(_layer(each) for each in (self.up, *self.inner) if isinstance(each, nn.Linear))
        affine = _layer(self.affine)
        down = np.ascontiguousarray(self.down.weight.detach().numpy().T)
        residual = Residual(layers[0], layers[1:], down)
        return LatentMap(self.start.inputs, self.start.outputs, affine.weight, affine.bias, residual)


def fit_network(start: LatentMap, into: Float32, out: Float32, settings: NetworkSettings, seed: int) -> LatentMap:
    """Train a network on pairs, by mean squared error between the standardised spaces.

    Args:
        start: an affine map of the same pairs.
        into: [N, I], raw.
        out: [N, O], raw.
        seed: of first weights, order and noise; equal ones give equal maps on one machine.
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.from_numpy(one.apply(rows)) for one, rows in ((start.inputs, into), (start.outputs, out)))
    hidden = settings.hidden_between(start.width_in, start.width_out)
    network = Network(start, hidden, settings.inner, generator)
    optimizers = make_optimizers(network, settings.rate, settings.decay)
    updates, size = settings.updates_for(len(x)), min(settings.batch, len(x))
    order = torch.empty(0, dtype=torch.int64)
    for update in range(updates):
        if len(order) < size:
            order = torch.randperm(len(x), generator=generator)
        rows, order = order[:size], order[size:]
        noise = settings.noise * torch.randn((size, x.shape[1]), generator=generator)
        loss = (network(x[rows] + noise) - y[rows]).square().mean()
        descend(network, optimizers, loss, update / updates)
    return network.to_map()


def make_optimizers(network: Network, rate: float, decay: float) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices, AdamW for the biases."""
    matrices = [each for each in network.parameters() if each.ndim == 2]
    biases = [each for each in network.parameters() if each.ndim == 1]
    return (
        Muon([{"params": matrices, "peak": rate}], lr=rate, weight_decay=decay),
        torch.optim.AdamW([{"params": biases, "peak": rate * _BIAS_RATE}], lr=rate, weight_decay=0.0),
    )


def descend(network: Network, optimizers: Sequence[torch.optim.Optimizer], loss: Tensor, done: float) -> None:
    """One update; `done` is the share of the updates that lie behind."""
    network.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    share = min(1.0, (done + 1e-3) / _WARMUP)
    share *= _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * done)) / 2
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
        optimizer.step()


def _layer(layer: nn.Linear) -> Layer:
    weight = np.ascontiguousarray(layer.weight.detach().numpy().T)
    return Layer(weight, layer.bias.detach().numpy().copy())
