"""Context states to a prediction of each target: given its position, never its text nor the length of the chain.

Queries do not see each other, so that one pass predicts every step of every chain, each from its own visible segments.
The sentences of the problem are always seen.
Dimensions: rows of a batch (chains, mostly), segments, sentences of the problem, width of encoder states, inner width
of predictor states, columns of latents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rjepa.jepa.batches import Layout
from rjepa.jepa.config import LossConfig, PredictorConfig
from rjepa.jepa.encoder import Block, as_bias, positions
from rjepa.step_types import STEP_TYPES


@dataclass(frozen=True)
class Prediction:
    """Predictions for all positions, float32; only those of a view's targets mean something."""

    states: Float[Tensor, "rows segments inner"]
    latent: Float[Tensor, "rows segments width"]
    """in the space of the EMA target"""
    raw: Float[Tensor, "rows segments columns"] | None
    """the standardised raw latent; None where its head is not built, as for those below"""
    delta: Float[Tensor, "rows segments columns"] | None = None
    """how the standardised raw latent differs from that of the segment before"""
    step_type: Float[Tensor, "rows segments types"] | None = None
    """logits of what the step does"""

    def detached(self) -> "Prediction":
        """The same values without a gradient."""
        raw = None if self.raw is None else self.raw.detach()
        return Prediction(self.states.detach(), self.latent.detach(), raw)


class Predictor(nn.Module):
    """A mask token with the target's position asks the visible context states."""

    def __init__(
        self, config: PredictorConfig, encoder_width: int, columns: int, domains: int, heads: LossConfig
    ) -> None:
        super().__init__()
        self.project = nn.Linear(encoder_width, config.width)
        self.mask_token = nn.Parameter(torch.randn(config.width) * 0.1)
        self.domain = nn.Embedding(domains, config.width)
        nn.init.normal_(self.domain.weight, std=0.1)
        scale = (2 * config.depth) ** -0.5
        self.blocks = cast(
            "Sequence[Block]", nn.ModuleList(Block(config.width, config.heads, scale) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(config.width)
        self.to_latent = nn.Linear(config.width, encoder_width)
        self.to_raw = nn.Linear(config.width, columns) if heads.raw > 0 else None
        self.to_delta = nn.Linear(config.width, columns) if heads.delta > 0 else None
        self.to_step_type = nn.Linear(config.width, len(STEP_TYPES)) if heads.step_type > 0 else None

    def forward(
        self,
        context: Float[Tensor, "rows segments width"],
        visible: Bool[Tensor, "rows segments segments"],
        domains: Int[Tensor, " rows"],
        sentences: Float[Tensor, "rows known width"],
        sentences_valid: Bool[Tensor, "rows sentences"],
        layout: Layout | None = None,
    ) -> Prediction:
        """Predict all positions. visible[row, target, segment]; context and sentences as the encoder left them (it
        may have read none); layout where a row holds several chains.
        """
        places = positions(context, self.mask_token.shape[0], layout)
        before = sentences.shape[1]
        memory = torch.cat([self.project(sentences), self.project(context) + places], dim=1)
        queries = (self.mask_token + self.domain(domains))[:, None, :] + places
        bias = as_bias(torch.cat([sentences_valid[:, None, :before].expand(-1, visible.shape[1], -1), visible], dim=2))
        for block in self.blocks:
            queries = block(queries, bias, memory)
        states = self.norm(queries)

        def read(head: nn.Linear | None) -> Tensor | None:
            return None if head is None else head(states).float()

        return Prediction(
            states.float(),
            self.to_latent(states).float(),
            read(self.to_raw),
            delta=read(self.to_delta),
            step_type=read(self.to_step_type),
        )
