"""Read many token sequences in one forward, each distinct beginning once: packing, and attention over what is packed.

Chains of a problem begin with the same prompt, and a corrupted or sampled chain often with the same steps as another.
Tokens that two neighbouring sequences begin with are read once; all that is left lies end to end in one row without
padding. Only attention sees sequences: it collects the keys of each one's path. For architectures whose attention is a
plain causal softmax (`rjepa.students.decoding.can_share_prefix`).

Dimensions: packed tokens, heads, key heads, size of a head; of a group of rows: rows, queries, keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rjepa.arrays import Int64

_MIN_FILLED = 0.5
"""Share of its group's longest that a row's tokens must reach: attention pays for padding, and for every group."""


@dataclass(frozen=True)
class _Rows:
    """Sequences whose new tokens are of about one number. queries, keys: packed places, row after row, padded by
    repeating one. mask: which keys a query sees; None where no row shares anything, so that queries are keys and plain
    causality says it (only padding, at the end, would see padding).
    """

    count: int
    queries: Int[Tensor, " _"]
    keys: Int[Tensor, " _"]
    mask: Bool[Tensor, "rows 1 queries keys"] | None

    def to(self, device: torch.device) -> "_Rows":
        mask = None if self.mask is None else self.mask.to(device)
        return _Rows(self.count, self.queries.to(device), self.keys.to(device), mask)


@dataclass(frozen=True)
class Packed:
    """Sequences as one row. paths: for each sequence, the packed place of each of its tokens. back: where in the
    groups' queries end to end a packed token is.
    """

    input_ids: Int[Tensor, "1 packed"]
    positions: Int[Tensor, "1 packed"]
    paths: list[Int[Int64, " _"]]
    groups: list[_Rows]
    back: Int[Tensor, " packed"]


def shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Number of tokens that both begin with."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))


def pack(sequences: Sequence[Sequence[int]], device: torch.device) -> Packed:
    """Pack sequences of at least one token; each shares what it can with the one before it, so sort them first."""
    ids: list[int] = []
    paths: list[Int64] = []
    known: list[int] = []
    for index, sequence in enumerate(sequences):
        shared = shared_length(sequences[index - 1], sequence) if index else 0
        own = np.arange(len(ids), len(ids) + len(sequence) - shared)
        paths.append(np.concatenate([paths[-1][:shared], own]) if shared else own)
        known.append(shared)
        ids.extend(sequence[shared:])
    positions = np.zeros(len(ids), dtype=np.int64)
    for path in paths:
        positions[path] = np.arange(len(path))
    groups, back = _group(paths, known, positions)
    return Packed(
        input_ids=torch.tensor([ids], device=device),
        positions=torch.from_numpy(positions)[None].to(device),
        paths=paths,
        groups=[group.to(device) for group in groups],
        back=torch.from_numpy(back).to(device),
    )


def packed_attention(
    query: Float[Tensor, "1 heads packed size"],
    key: Float[Tensor, "1 key_heads packed size"],
    value: Float[Tensor, "1 key_heads packed size"],
    packed: Packed,
    scaling: float | None,
) -> Float[Tensor, "1 packed heads size"]:
    """Causal attention of every packed token over its sequence."""
    query, key, value = (states[0].transpose(0, 1) for states in (query, key, value))
    outputs = []
    for rows in packed.groups:
        queries, keys, values = (
            states[places].view(rows.count, -1, *states.shape[1:]).transpose(1, 2)
            for states, places in ((query, rows.queries), (key, rows.keys), (value, rows.keys))
        )
        found = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=rows.mask, is_causal=rows.mask is None, scale=scaling, enable_gqa=True
        )
        outputs.append(found.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)[packed.back][None]


def _group(
    paths: list[Int[Int64, " _"]], known: list[int], positions: Int[Int64, " packed"]
) -> tuple[list[_Rows], Int[Int64, " packed"]]:
    """Groups of rows, and where in their queries end to end each packed token is."""
    new = np.array([len(path) - shared for path, shared in zip(paths, known, strict=True)])
    order = [int(row) for row in np.argsort(-new, kind="stable") if new[row]]
    groups, back, placed, first = [], np.empty(len(positions), dtype=np.int64), 0, 0
    while first < len(order):
        longest_new = int(new[order[first]])
        members = [row for row in order[first:] if new[row] >= _MIN_FILLED * longest_new]
        first += len(members)
        longest = max(len(paths[row]) for row in members)
        queries = np.stack([_padded(paths[row][known[row] :], longest_new) for row in members])
        keys = np.stack([_padded(paths[row], longest) for row in members])
        for place, row in enumerate(members):
            back[paths[row][known[row] :]] = placed + place * longest_new + np.arange(new[row])
        placed += queries.size
        shares = any(known[row] for row in members)
        mask = torch.from_numpy(np.arange(longest) <= positions[queries][:, None, :, None]) if shares else None
        groups.append(_Rows(len(members), torch.from_numpy(queries.ravel()), torch.from_numpy(keys.ravel()), mask))
    return groups, back


def _padded(places: Int[Int64, " places"], length: int) -> Int[Int64, " {length}"]:
    return np.concatenate([places, np.full(length - len(places), places[0])])
