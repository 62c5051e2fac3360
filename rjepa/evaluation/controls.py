"""What an expected latent is worth: the same with a latent that says nothing, says something else, or any direction.

Each control takes an expected latent, its problem and the number of its segment, and returns what is spoken instead.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rjepa.verbalizer.config import DecoderConfig
from rjepa.verbalizer.stage import Material

Latent = Float[Tensor, " columns"]
Control = Callable[[Latent, str, int], Latent]


def zeroed(latent: Latent, _: str, __: int) -> Latent:
    """The mean latent: it says that there is a step, and nothing of it."""
    return torch.zeros_like(latent)


def random_direction(latent: Latent, statement: str, segment: int) -> Latent:
    """A direction drawn for the problem and segment, of the latent's length."""
    drawn = torch.randn(latent.shape, generator=torch.Generator().manual_seed(_number(statement, segment)))
    scaled: Tensor = drawn * latent.norm() / drawn.norm()
    return scaled


@dataclass(frozen=True)
class OtherProblems:
    """Expected latents of other problems' segments."""

    latents: Float[Tensor, "givers columns"]
    segments: Int[Tensor, " givers"]

    @classmethod
    def of(cls, material: Material, config: DecoderConfig, chains: int = 250) -> "OtherProblems":
        """From right validation chains, spread over the set."""
        _, held_out = material.texts(config)
        count = len(held_out.tokens)
        chosen = np.unique(np.linspace(0, count - 1, min(chains, count)).astype(np.int64))
        _, expected = held_out.latents_of(chosen)
        segments = [range(1, len(held_out.tokens.bounds[index]) - 1) for index in chosen.tolist()]
        return cls(expected, torch.tensor([number for each in segments for number in each]))

    def __call__(self, latent: Latent, statement: str, segment: int) -> Latent:
        """The latent that was expected of the same segment of another problem, or of the last that any has."""
        places = torch.nonzero(self.segments == min(segment, int(self.segments.max())))[:, 0]
        return self.latents[places[_number(statement, segment) % len(places)]]


def controls(material: Material, config: DecoderConfig) -> Mapping[str, Control]:
    """All of them by name."""
    others = OtherProblems.of(material, config)
    return {"zeroed": zeroed, "random direction": random_direction, "other problem's": others}


def _number(statement: str, segment: int) -> int:
    return int(hashlib.sha256(f"{statement}/{segment}".encode()).hexdigest()[:12], 16)
