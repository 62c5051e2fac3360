"""Latents of segments to states: the encoder that is used both as context encoder and, averaged, as target encoder.

Dimensions: rows of a batch (chains, mostly), segments, sentences of the problem, columns of latents, width of states;
in attention heads, queries, keys, size of a head. The blocks are shared with the predictor.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rjepa.jepa.batches import Layout
from rjepa.jepa.config import EncoderConfig
from rjepa.step_types import STEP_TYPES

Inputs = Float[Tensor, "rows queries width"]
HeadKeys = Float[Tensor, "rows heads keys size"]
Bias = Float[Tensor, "rows 1 queries keys"] | Float[Tensor, ""]
"""What is added to the scores of attention: 0, and -inf for keys that a query does not see; one 0 hides nothing."""


@functools.lru_cache(maxsize=256)
def sinusoids(count: int, width: int, device: torch.device) -> Float[Tensor, "{count} {width}"]:
    """Fixed position codes, float32, so that a chain longer than any in training has one too."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(1000.0) / width))
    angles = torch.arange(count, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def positions(
    states: Float[Tensor, "rows segments _"], width: int, layout: Layout | None
) -> Float[Tensor, "segments {width}"] | Float[Tensor, "rows segments {width}"]:
    """Position codes, float32: the same for all rows, or of each row where rows hold several chains."""
    if layout is None:
        return sinusoids(states.shape[1], width, states.device)
    return sinusoids(int(layout.places.max()) + 1, width, states.device)[layout.places]


def attend(
    queries: Float[Tensor, "rows heads queries size"], keys: HeadKeys, values: HeadKeys, bias: Bias
) -> Float[Tensor, "rows heads queries size"]:
    """Eager attention: on short chains it beats the fused kernel, which is made for long ones."""
    scores = queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1]) + bias
    return scores.softmax(-1).to(values.dtype) @ values


def begin_small(layers: Iterable[nn.Linear], scale: float) -> None:
    """Scale the first weights of layers that add to a residual stream: a deep stack then begins near the identity."""
    for layer in layers:
        nn.init.zeros_(layer.bias)
        with torch.no_grad():
            layer.weight.mul_(scale)


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
        begin_small((self.out, self.down), residual_scale)

    def forward(self, inputs: Inputs, bias: Bias, memory: Float[Tensor, "rows keys width"] | None = None) -> Inputs:
        """The inputs, after they have read the memory."""
        normed = self.norm_queries(inputs)
        keys, values = self.read(normed if memory is None else memory)
        return self.mix(inputs, normed, keys, values, bias)

    def read(self, memory: Float[Tensor, "rows keys width"]) -> tuple[HeadKeys, HeadKeys]:
        """Keys and values of a memory, as it stands."""
        keys, values = self._split(self.keys_values(memory)).chunk(2, dim=1)
        return keys, values

    def mix(self, inputs: Inputs, normed: Inputs, keys: HeadKeys, values: HeadKeys, bias: Bias) -> Inputs:
        """The rest of `forward`, once the inputs are normed and the memory is read."""
        mixed = attend(self._split(self.queries(normed)), keys, values, bias)
        inputs = inputs + self.out(mixed.transpose(1, 2).flatten(2))
        hidden: Tensor = self.down(F.gelu(self.up(self.norm_hidden(inputs))))
        return inputs + hidden

    def _split(self, states: Float[Tensor, "rows places width"]) -> Float[Tensor, "rows heads places size"]:
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
        latents: Float[Tensor, "rows segments columns"],
        readable: Bool[Tensor, "rows segments"],
        domains: Int[Tensor, " rows"],
        sentences: Float[Tensor, "rows sentences columns"],
        sentences_valid: Bool[Tensor, "rows sentences"],
        types: Int[Tensor, "rows segments"],
        layout: Layout | None = None,
    ) -> tuple[Float[Tensor, "rows segments width"], Float[Tensor, "rows known width"]]:
        """States, float32, of the segments and of the sentences; of no sentence where the encoder reads none.

        latents and sentences are standardised; layout where a row holds several chains (causal encoders only). The
        states of what is not readable or not valid mean nothing and are read by nothing else.
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

    def _bias(
        self,
        readable: Bool[Tensor, "rows segments"],
        sentences_valid: Bool[Tensor, "rows sentences"],
        layout: Layout | None,
    ) -> Float[Tensor, "rows 1 places places"]:
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


def as_bias(allowed: Bool[Tensor, "rows queries keys"]) -> Float[Tensor, "rows 1 queries keys"]:
    """0 where a query may see a key, -inf where not, float32."""
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, -torch.inf)[:, None]
