"""From the hidden states of tokens to one vector a segment. Which tokens form a segment: `rjepa.students.segmentation`.

Legend: tokens T, segments S, hidden size H, poolings P.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rjepa.students.catalog import Pooling

FLOAT16_LIMIT = 65504.0
"""Largest float16: the massive activations of some LLMs exceed it and must not become infinite in a shard."""


def pool_segments(
    states: Tensor, boundaries: npt.NDArray[np.int64], has_content: npt.NDArray[np.bool_], poolings: Sequence[Pooling]
) -> Tensor:
    """float32 [S, P * H]: the poolings of each segment, concatenated in the order given.

    mean: of all its tokens. last: its last token that holds a letter or digit (its end where none does). end: its last
    token. A segment without tokens (it lies inside the token before it) takes that token.

    states: [T, H], of one chain or of many end to end. boundaries: [S + 1], first token of each segment, then T.
    has_content: bool [T].
    """
    starts, stops = boundaries[:-1], boundaries[1:]
    if len(states) != boundaries[-1] or len(has_content) != len(states) or (len(starts) and not len(states)):
        raise ValueError(f"expected {boundaries[-1]} > 0 tokens, got {len(states)} states, {len(has_content)} flags")
    ends = np.maximum(stops - 1, 0)
    states = states.float()
    parts = []
    for pooling in poolings:
        if pooling == "mean":
            parts.append(_means(states, np.minimum(starts, ends), ends + 1))
        else:
            chosen = ends if pooling == "end" else _last_content(starts, ends, has_content)
            parts.append(states[torch.from_numpy(chosen).to(states.device)])
    return torch.cat(parts, dim=1)


def to_float16(latents: Tensor) -> npt.NDArray[np.float16]:
    """A float16 array on the CPU; values beyond float16 are clamped."""
    return latents.float().clamp(-FLOAT16_LIMIT, FLOAT16_LIMIT).half().cpu().numpy()


def _means(states: Tensor, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> Tensor:
    lengths = torch.from_numpy(stops - starts).to(states.device)
    tokens = np.repeat(starts - np.concatenate([[0], np.cumsum(stops - starts)[:-1]]), stops - starts)
    rows = states[torch.from_numpy(tokens + np.arange(len(tokens))).to(states.device)]
    owner = torch.repeat_interleave(torch.arange(len(starts), device=states.device), lengths)
    sums = states.new_zeros(len(starts), states.shape[1]).index_add_(0, owner, rows)
    return sums / lengths[:, None]


def _last_content(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], has_content: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    latest = np.maximum.accumulate(np.where(has_content, np.arange(len(has_content)), -1))
    found = latest[ends]
    return np.where(found >= np.minimum(starts, ends), found, ends)
