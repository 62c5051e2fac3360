"""The decoder: a small causal transformer over tokens, each of which is told the latent of the step it helps to write.

The latent that goes with a token is that of the segment to which the *next* token belongs, so that the very first word
of a step is written with its latent in view. Parts and forward passes only; no files, no loop.

Dimensions: rows of a batch, tokens of a row, width of states, heads, size of a head, columns of latents.
"""

import math
from dataclasses import dataclass
from typing import Final, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rjepa.jepa.encoder import begin_small
from rjepa.verbalizer.config import DecoderConfig
from rjepa.verbalizer.vocabulary import Vocabulary

States = Float[Tensor, "rows tokens width"]
Heads = Float[Tensor, "rows heads tokens size"]

_LONGEST_TURN: Final = 10_000.0
"""Of rotary positions, in tokens: the usual value (Su et al. 2021, https://arxiv.org/abs/2104.09864)."""


class Memory:
    """Keys and values of the tokens that rows have read, per block; rows may be of different lengths."""

    def __init__(self, blocks: int, rows: int, device: torch.device) -> None:
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)
        self.layers: list[tuple[Tensor, Tensor] | None] = [None] * blocks


def rotate(states: Heads, places: Int[Tensor, "rows tokens"]) -> Heads:
    """Turn each pair of a head's numbers by an angle that grows with the token's place."""
    half = states.shape[-1] // 2
    rates = torch.exp(torch.arange(half, device=states.device) * (-math.log(_LONGEST_TURN) / half))
    angles = places[:, None, :, None] * rates
    cosine, sine = angles.cos(), angles.sin()
    one, two = states[..., :half], states[..., half:]
    return torch.cat([one * cosine - two * sine, two * cosine + one * sine], dim=-1)


class DecoderBlock(nn.Module):
    """Pre-norm causal attention, then a feed-forward."""

    def __init__(self, width: int, heads: int, residual_scale: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_tokens = nn.LayerNorm(width)
        self.read = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_hidden = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        begin_small((self.out, self.down), residual_scale)

    def forward(self, states: States, places: Int[Tensor, "rows tokens"], memory: Memory | None, index: int) -> States:
        """The states, after each token has read those before it, in this call and in the memory."""
        rows, tokens, width = states.shape
        split = self.read(self.norm_tokens(states)).view(rows, tokens, 3, self.heads, width // self.heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        queries, keys = rotate(queries, places), rotate(keys, places)
        if memory is None:
            mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        else:
            keys, values, seen = _remember(memory, index, keys, values, places)
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
        states = states + self.out(mixed.transpose(1, 2).flatten(2))
        hidden: Tensor = self.down(F.gelu(self.up(self.norm_hidden(states))))
        return states + hidden


def _remember(
    memory: Memory, index: int, keys: Heads, values: Heads, places: Int[Tensor, "rows tokens"]
) -> tuple[Heads, Heads, Bool[Tensor, "rows 1 tokens seen"]]:
    """Write new keys and values at their places. Returns all of them, and which a token sees: those up to its own.

    What a shorter row left behind its end is overwritten by its next token, and is seen by none before that.
    """
    end = int(places.max()) + 1
    old = memory.layers[index]
    held = 0 if old is None else old[0].shape[2]
    rows, heads, tokens, size = keys.shape
    both = []
    for new, known in zip((keys, values), old or (None, None), strict=True):
        grown = new.new_zeros(rows, heads, max(end, held), size)
        if known is not None:
            grown[:, :, :held] = known
        at = places[:, None, :, None].expand(rows, heads, tokens, size)
        both.append(grown.scatter_(2, at, new))
    memory.layers[index] = (both[0], both[1])
    seen = torch.arange(both[0].shape[2], device=places.device) <= places[:, None, :, None]
    return both[0], both[1], seen


@dataclass(frozen=True)
class TokenBatch:
    """Rows of tokens padded on the right, int64 except for the latents.

    `latent_of` is the row of `latents` that goes with a token, -1 for none. `targets` is the next token, -1 where it is
    not to be predicted. `is_expected` says of each latent whether R-JEPA expected it or the student made it.
    """

    tokens: Int[Tensor, "rows tokens"]
    targets: Int[Tensor, "rows tokens"]
    latent_of: Int[Tensor, "rows tokens"]
    latents: Float[Tensor, "latents columns"]
    is_expected: Int[Tensor, " latents"]

    def to(self, device: torch.device) -> "TokenBatch":
        return TokenBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


class Decoder(nn.Module):
    """From tokens and latents to the next token. `columns` are those that its R-JEPA reads, standardised."""

    def __init__(self, config: DecoderConfig, vocabulary: Vocabulary, columns: int) -> None:
        super().__init__()
        self.config, self.vocabulary, self.columns = config, vocabulary, columns
        width = config.width
        self.embed = nn.Embedding(len(vocabulary), width)
        nn.init.normal_(self.embed.weight, std=0.02 * math.sqrt(width))
        if config.form != "plain":
            self.latent_in = nn.Linear(columns, 2 * width)
            self.latent_out = nn.Linear(2 * width, width)
            self.embed_kind = nn.Embedding(2, width)
            nn.init.normal_(self.embed_kind.weight, std=0.1)
        scale = (2 * config.depth) ** -0.5
        self.blocks = nn.ModuleList(DecoderBlock(width, config.heads, scale) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        # The head is the table of embeddings: most of a small decoder would be the two of them.
        self.bias = nn.Parameter(torch.zeros(len(vocabulary)))

    @property
    def device(self) -> torch.device:
        return self.bias.device

    @property
    def parameters_trained(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def project(
        self, latents: Float[Tensor, "latents columns"], is_expected: Int[Tensor, " latents"]
    ) -> Float[Tensor, "latents width"]:
        """What is added to the tokens that go with each latent; nothing for a plain language model."""
        if self.config.form == "plain":
            return latents.new_zeros(len(latents), self.config.width)
        found: Tensor = self.latent_out(F.gelu(self.latent_in(latents))) + self.embed_kind(is_expected)
        return found

    def forward(
        self, tokens: Int[Tensor, "rows tokens"], added: States, memory: Memory | None = None
    ) -> Float[Tensor, "rows tokens width"]:
        """States of the tokens, which `logits` reads.

        Args:
            tokens: places of the vocabulary.
            added: the projected latent that goes with each token.
            memory: what the rows have read before; it grows by these tokens, all of each row's.
        """
        first = tokens.new_zeros(len(tokens)) if memory is None else memory.lengths
        places = first[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        states = self.embed(tokens) + added
        for index, block in enumerate(self.blocks):
            states = cast(DecoderBlock, block)(states, places, memory, index)
        if memory is not None:
            memory.lengths = memory.lengths + tokens.shape[1]
        normed: Tensor = self.norm(states)
        return normed

    def logits(self, states: Float[Tensor, "*places width"]) -> Float[Tensor, "*places vocabulary"]:
        """Logits of the next token, float32."""
        return (F.linear(states, self.embed.weight) / math.sqrt(self.config.width) + self.bias).float()

    def loss(self, batch: TokenBatch) -> Float[Tensor, ""]:
        """Mean cross-entropy, in nats, of the tokens that are to be predicted."""
        projected = self.project(batch.latents, batch.is_expected)
        states = self.forward(batch.tokens, spread(projected, batch.latent_of))
        chosen = batch.targets >= 0
        return F.cross_entropy(self.logits(states[chosen]), batch.targets[chosen])


def spread(projected: Float[Tensor, "latents width"], latent_of: Int[Tensor, "rows tokens"]) -> States:
    """The projected latent of each token, 0 where it has none."""
    padded = torch.cat([projected, projected.new_zeros(1, projected.shape[1])])
    return padded[latent_of]


def build_decoder(config: DecoderConfig, vocabulary: Vocabulary, columns: int) -> Decoder:
    """A decoder with the first weights of the config's seed; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Decoder(config, vocabulary, columns)
