"""Latents of segments to states: the encoder that is used both as context encoder and, averaged, as target encoder.

Legend: B chains, S segments, P sentences of the problem, W latent columns, D states. The blocks are shared with the
predictor.
"""

import functools
import math
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rjepa.jepa.batches import Layout
from rjepa.jepa.config import EncoderConfig
from rjepa.step_types import STEP_TYPES


@functools.lru_cache(maxsize=256)
def sinusoids(count: int, width: int, device: torch.device) -> Tensor:
    """float32 [count, width]: fixed position codes, so that a chain longer than any in training has one too."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(1000.0) / width))
    angles = torch.arange(count, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def positions(states: Tensor, width: int, layout: Layout | None) -> Tensor:
    """float32 [S, width], or [B, S, width] where rows of `states` [B, S, ...] hold several chains: position codes."""
    if layout is None:
        return sinusoids(states.shape[1], width, states.device)
    return sinusoids(int(layout.places.max()) + 1, width, states.device)[layout.places]


def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Eager attention, `[B, H, Q, K]` scores: on short chains it beats the fused kernel, which is made for long ones.

    queries [B, H, Q, d], keys and values [B, H, K, d], bias float [B, 1, Q, K] of 0 and -inf. Returns [B, H, Q, d].
    """
    scores = queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1]) + bias
    return scores.softmax(-1).to(values.dtype) @ values


class Block(nn.Module):
    """Pre-norm attention over a memory, then a feed-forward. With `memory=None` the memory is the block's own input."""

    def __init__(self, width: int, heads: int, residual_scale: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_queries = nn.LayerNorm(width)
        self.queries = nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm_hidden = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        for last in (self.out, self.down):
            nn.init.zeros_(last.bias)
            with torch.no_grad():
                last.weight.mul_(residual_scale)

    def forward(self, inputs: Tensor, bias: Tensor, memory: Tensor | None = None) -> Tensor:
        """Inputs [B, Q, width], bias [B, 1, Q, K], memory [B, K, width]. Returns [B, Q, width]."""
        normed = self.norm_queries(inputs)
        keys, values = self.read(normed if memory is None else memory)
        return self.mix(inputs, normed, keys, values, bias)

    def read(self, memory: Float[Tensor, "batch keys width"]) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, K, d] of a memory, as it stands."""
        keys, values = self._split(self.keys_values(memory)).chunk(2, dim=1)
        return keys, values

    def mix(self, inputs: Tensor, normed: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """The rest of `forward`, once the inputs are normed and the memory is read."""
        mixed = attend(self._split(self.queries(normed)), keys, values, bias)
        inputs = inputs + self.out(mixed.transpose(1, 2).flatten(2))
        hidden: Tensor = self.down(F.gelu(self.up(self.norm_hidden(inputs))))
        return inputs + hidden

    def _split(self, states: Tensor) -> Tensor:
        batch, size, width = states.shape
        head_width = self.queries.out_features // self.heads
        return states.view(batch, size, width // head_width, head_width).transpose(1, 2)


class Encoder(nn.Module):
    """Latent columns in, layer-normed states out. A causal encoder's state of t has read nothing after t.

    The sentences of the problem stand before the chain: every segment reads them, and they read each other.
    """

    def __init__(self, config: EncoderConfig, columns: int, domains: int) -> None:
        super().__init__()
        self.causal = config.causal
        self.project = nn.Linear(columns, config.width)
        self.project_sentences = nn.Linear(columns, config.width) if config.sentences else None
        self.domain = nn.Embedding(domains, config.width)
        nn.init.normal_(self.domain.weight, std=0.1)
        scale = (2 * config.depth) ** -0.5
        self.blocks = cast(
            "Sequence[Block]", nn.ModuleList(Block(config.width, config.heads, scale) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(config.width, elementwise_affine=False)
        self.step_type = nn.Embedding(len(STEP_TYPES), config.width) if config.step_types else None
        if self.step_type is not None:
            nn.init.normal_(self.step_type.weight, std=0.1)

    def forward(
        self,
        latents: Tensor,
        readable: Tensor,
        domains: Tensor,
        sentences: Tensor,
        sentences_valid: Tensor,
        types: Tensor,
        layout: Layout | None = None,
    ) -> tuple[Tensor, Tensor]:
        """States float32 [B, S, D] of the segments and [B, P, D] of the sentences.

        latents float [B, S, W] standardised, readable bool [B, S], domains int64 [B], sentences float [B, P, W]
        standardised, sentences_valid bool [B, P], types int64 [B, S], layout where a row holds several chains (causal
        encoders only). The states of what is not readable or not valid mean nothing and are read by nothing else.
        """
        states = self.project(latents) + positions(latents, self.domain.embedding_dim, layout)
        if self.step_type is not None:
            states = states + self.step_type(types)
        before = sentences.shape[1] if self.project_sentences is not None else 0
        if self.project_sentences is not None:
            places = sinusoids(before, self.domain.embedding_dim, latents.device)
            states = torch.cat([self.project_sentences(sentences) + places, states], dim=1)
        states = states + self.domain(domains)[:, None, :]
        bias = self._bias(readable, sentences_valid[:, :before], layout)
        for block in self.blocks:
            states = block(states, bias)
        states = self.norm(states.float())
        return states[:, before:], states[:, :before]

    def _bias(self, readable: Tensor, sentences_valid: Tensor, layout: Layout | None) -> Tensor:
        before, size = sentences_valid.shape[1], sentences_valid.shape[1] + readable.shape[1]
        allowed = torch.cat([sentences_valid, readable], dim=1)[:, None, :].expand(-1, size, -1)
        if self.causal:
            order = torch.ones(size, size, dtype=torch.bool, device=readable.device).tril()
            order[:before, :before] = True
            allowed = allowed & order
            if layout is not None:
                allowed[:, before:, before:] &= layout.sees
        else:
            allowed = allowed.clone()
            allowed[:, :before, before:] = False
        # A row may always read itself: a padded or hidden one needs one key, and its state is not read.
        allowed = allowed | torch.eye(size, dtype=torch.bool, device=readable.device)
        return as_bias(allowed)


def as_bias(allowed: Tensor) -> Tensor:
    """Bool [B, Q, K] to float32 [B, 1, Q, K] of 0 and -inf."""
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, -torch.inf)[:, None]
