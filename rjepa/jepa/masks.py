"""Choose which segments are hidden and what each prediction may see. Encoders, losses and files live elsewhere.

Dimensions: chains of a batch, segments (padded). Segment 0 is the prompt: it is always seen and never a target.
Everything is vectorised over chains, and randomness arrives as a CPU generator.
"""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from rjepa.jepa.batches import Layout
from rjepa.jepa.config import MaskConfig

Segments = Bool[Tensor, "chains segments"]
"""Which segments of each chain."""

KINDS: Final = ("causal", "suffix", "random", "contiguous", "hierarchical")


@dataclass(frozen=True)
class View:
    """One way of looking at a batch. A hidden segment is neither read by the encoder nor seen by the predictor."""

    readable: Segments
    """segments whose latents the context encoder may read."""
    visible: Bool[Tensor, "chains segments segments"]
    """`visible[b, t, j]` lets the prediction of segment t use the context state of segment j."""
    targets: Segments
    """segments to be predicted."""
    causal: Bool[Tensor, " chains"]
    """rows whose every target is predicted from the segments before it, the way energies are read."""

    def to(self, device: torch.device) -> "View":
        return View(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def steps_of(valid: Segments) -> Segments:
    """The segments after the prompt among the real ones."""
    steps = valid.clone()
    steps[:, 0] = False
    return steps


def causal_view(valid: Segments) -> View:
    """Every step from the prompt and the steps before it, all at once. Safe only with a causal encoder."""
    size = valid.shape[1]
    before = torch.ones(size, size, dtype=torch.bool, device=valid.device).tril(-1)
    before[0, 0] = True  # the prompt's own row is never a target; an empty row would turn its softmax into NaN
    return View(valid, valid[:, None, :] & before, steps_of(valid), valid.new_ones(len(valid)))


def side_by_side_view(valid: Segments, layout: Layout) -> View:
    """`causal_view` where a row holds several chains: each segment from what lies before it in its own."""
    places = layout.places
    before = layout.sees & (places[:, None, :] < places[:, :, None])
    # Prompts and padding see themselves, as the prompt does there: their predictions are not read.
    itself = torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device) & (places == 0)[:, :, None]
    return View(valid, before | itself, valid & (places > 0), valid.new_ones(len(valid)))


def infill_view(valid: Segments, hidden: Segments) -> View:
    """The hidden steps from all the others, on both sides."""
    hidden = hidden & steps_of(valid)
    readable = valid & ~hidden
    return View(readable, readable[:, None, :].expand(-1, valid.shape[1], -1), hidden, valid.new_zeros(len(valid)))


def suffix_hidden(valid: Segments, generator: torch.Generator) -> Segments:
    """All steps from a cut on, the cut uniform over the steps."""
    counts = steps_of(valid).sum(1)
    cut = 1 + (torch.rand(len(valid), generator=generator) * counts).long()
    return steps_of(valid) & (torch.arange(valid.shape[1]) >= cut[:, None])


def random_hidden(valid: Segments, low: float, high: float, generator: torch.Generator) -> Segments:
    """A share in [low, high] of the steps, at least one, anywhere."""
    steps = steps_of(valid)
    amount = _amount(steps, low, high, generator)
    keys = torch.rand(valid.shape, generator=generator).masked_fill(~steps, 2.0)
    return steps & (keys.argsort(1).argsort(1) < amount[:, None])


def contiguous_hidden(valid: Segments, low: float, high: float, generator: torch.Generator) -> Segments:
    """One run of steps, a share in [low, high] of them, at least one."""
    steps = steps_of(valid)
    amount = _amount(steps, low, high, generator)
    room = steps.sum(1) - amount + 1
    start = 1 + (torch.rand(len(valid), generator=generator) * room).long()
    place = torch.arange(valid.shape[1])
    return steps & (place >= start[:, None]) & (place < (start + amount)[:, None])


def hierarchical_hidden(valid: Segments) -> Segments:
    """All steps but the first and the last; of a chain of one or two steps, the last."""
    counts = steps_of(valid).sum(1)
    place = torch.arange(valid.shape[1])
    inner = (place > 1) & (place < counts[:, None])
    return steps_of(valid) & torch.where((counts > 2)[:, None], inner, place == counts[:, None])


def draw_view(valid: Segments, config: MaskConfig, generator: torch.Generator) -> View:
    """One view a chain, its kind drawn by the configured weights. `valid` is on the CPU."""
    kinds = torch.multinomial(torch.tensor(config.weights()), len(valid), replacement=True, generator=generator)
    low, high = config.hidden_low, config.hidden_high
    hidden = torch.zeros_like(valid)
    for kind, drawn in (
        (1, suffix_hidden(valid, generator)),
        (2, random_hidden(valid, low, high, generator)),
        (3, contiguous_hidden(valid, low, high, generator)),
        (4, hierarchical_hidden(valid)),
    ):
        hidden = torch.where((kinds == kind)[:, None], drawn, hidden)
    causal, infill = causal_view(valid), infill_view(valid, hidden)
    is_causal = (kinds == 0)[:, None]
    return View(
        torch.where(is_causal, causal.readable, infill.readable),
        torch.where(is_causal[:, :, None], causal.visible, infill.visible),
        torch.where(is_causal, causal.targets, infill.targets),
        is_causal[:, 0],
    )


def _amount(steps: Segments, low: float, high: float, generator: torch.Generator) -> Int[Tensor, " chains"]:
    share = low + (high - low) * torch.rand(len(steps), generator=generator)
    counts = steps.sum(1)
    return torch.minimum((share * counts).round().long().clamp(min=1), counts)
