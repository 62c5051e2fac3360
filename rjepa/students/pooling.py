"""From the hidden states of tokens to one vector a segment. Which tokens form a segment: `rjepa.students.segmentation`.

Dimensions: tokens, segments, width of hidden states, latent width (that of all poolings together);
edges of segments, one more than there are segments.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rjepa.arrays import Bools, Float16, Int64
from rjepa.students.catalog import Pooling
from rjepa.students.segmentation import TokenMarks

Places = Int[Int64, " segments"]
"""A token of each segment."""

FLOAT16_LIMIT = 65504.0
"""Largest float16: the massive activations of some LLMs exceed it and must not become infinite in a shard."""


def pool_segments(
    states: Float[Tensor, "tokens width"],
    boundaries: Int[Int64, " edges"],
    marks: TokenMarks,
    poolings: Sequence[Pooling],
) -> Float[Tensor, "edges-1 latent"]:
    """The poolings of each segment, concatenated in the order given, float32.

    mean: of all its tokens. last: its last token that holds a letter or digit (its end where none does). end: its last
    token. number: the mean over all tokens of its last number (as last where it has none): what a step comes to, where
    the wording fills the other three. A segment without tokens (it lies inside the token before it) takes that token.

    states: of one chain or of many end to end. boundaries: first token of each segment, then the number of tokens.
    marks: of the tokens.
    """
    starts, stops = boundaries[:-1], boundaries[1:]
    if len(states) != boundaries[-1] or len(marks.content) != len(states) or (len(starts) and not len(states)):
        raise ValueError(f"expected {boundaries[-1]} > 0 tokens, got {len(states)} states, {len(marks.content)} marks")
    ends = np.maximum(stops - 1, 0)
    starts = np.minimum(starts, ends)
    states = states.float()
    parts = []
    for pooling in poolings:
        if pooling == "mean":
            parts.append(_means(states, starts, ends + 1))
        elif pooling == "number":
            parts.append(_means(states, *_last_number(starts, ends, marks)))
        else:
            chosen = ends if pooling == "end" else _last_marked(starts, ends, marks.content)
            parts.append(states[torch.from_numpy(chosen).to(states.device)])
    return torch.cat(parts, dim=1)


def to_float16(latents: Float[Tensor, "*shape"]) -> Float[Float16, "*shape"]:
    """A float16 array on the CPU; values beyond float16 are clamped."""
    return latents.float().clamp(-FLOAT16_LIMIT, FLOAT16_LIMIT).half().cpu().numpy()


def _means(states: Float[Tensor, "tokens width"], starts: Places, stops: Places) -> Float[Tensor, "segments width"]:
    lengths = torch.from_numpy(stops - starts).to(states.device)
    tokens = np.repeat(starts - np.concatenate([[0], np.cumsum(stops - starts)[:-1]]), stops - starts)
    rows = states[torch.from_numpy(tokens + np.arange(len(tokens))).to(states.device)]
    owner = torch.repeat_interleave(torch.arange(len(starts), device=states.device), lengths)
    sums = states.new_zeros(len(starts), states.shape[1]).index_add_(0, owner, rows)
    return sums / lengths[:, None]


def _last_marked(starts: Places, ends: Places, marked: Bool[Bools, " tokens"]) -> Places:
    """The last marked token of each segment, its end where none is."""
    found = _latest(marked)[ends]
    return np.where(found >= starts, found, ends)


def _last_number(starts: Places, ends: Places, marks: TokenMarks) -> tuple[Places, Places]:
    """First token of each segment's last number, and the one after it; the token that `last` reads if it has none."""
    number = marks.digit.copy()
    number[1:-1] |= marks.point[1:-1] & marks.digit[:-2] & marks.digit[2:]
    number[starts] &= marks.digit[starts]  # what the segment before ends with is no part of a number of this one
    last = _latest(marks.digit)[ends]
    before = _latest(~number)[np.maximum(last, 0)]
    content = _last_marked(starts, ends, marks.content)
    found = last >= starts
    return np.where(found, np.maximum(before + 1, starts), content), np.where(found, last, content) + 1


def _latest(marked: Bool[Bools, " tokens"]) -> Int[Int64, " tokens"]:
    """For each token, the last marked one up to and including it; -1 where there is none."""
    return np.maximum.accumulate(np.where(marked, np.arange(len(marked)), -1))
