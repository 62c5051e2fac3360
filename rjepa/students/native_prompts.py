"""Whole prompts through a compiled layer. What a layer does to single tokens is `rjepa.students.native_layers`.

A short prompt's forward is many small operations, too: transformers' takes longer to call them than they take.

Legend: as `rjepa.students.native_layers`.
"""

import numpy as np

from rjepa.arrays import Float32, Int64
from rjepa.students.native_layers import AddedWeights, LayerWeights, compiled, inward, outward, relative_exponentials


@compiled
def _attend_prompt(
    both: Float32,
    groups: int,
    first: int,
    length: int,
    keys: Float32,
    values: Float32,
    start: int,
    out: Float32,
) -> None:
    """Attention of each token of one prompt, from row `first` of `both`, over itself and those before it. Its keys and
    values are written into keys [M, D, T] and values [M, T, D], from place `start` on.
    """
    key_heads, size, _ = keys.shape
    heads = groups * key_heads
    queries = np.empty((length, size), dtype=np.float32)
    own_keys = np.empty((size, length), dtype=np.float32)
    own_values = np.empty((length, size), dtype=np.float32)
    scores = np.empty((length, length), dtype=np.float32)
    found = np.empty((length, size), dtype=np.float32)
    bits = np.empty(length, dtype=np.int32)
    powers = bits.view(np.float32)
    for key_head in range(key_heads):
        for token in range(length):
            for place in range(size):
                own_keys[place, token] = both[first + token, heads + key_head, place]
                own_values[token, place] = both[first + token, heads + key_heads + key_head, place]
        keys[key_head, :, start : start + length] = own_keys
        values[key_head, start : start + length] = own_values
        for group in range(groups):
            head = key_head * groups + group
            for token in range(length):
                for place in range(size):
                    queries[token, place] = both[first + token, head, place]
            np.dot(queries, own_keys, scores)
            for token in range(length):
                seen = scores[token, : token + 1]
                relative_exponentials(seen, bits, powers)
                total = np.float32(0.0)
                for other in range(token + 1):
                    total += seen[other]
                for other in range(token + 1):
                    seen[other] /= total
                scores[token, token + 1 :] = np.float32(0.0)
            np.dot(scores, own_values, found)
            for token in range(length):
                for place in range(size):
                    out[first + token, head * size + place] = found[token, place]


@compiled
def prompt_step(
    states: Float32,
    weights: LayerWeights,
    tables: tuple[Float32, Float32],
    positions: Int64,
    eps: float,
    head_eps: float,
    keys: Float32,
    values: Float32,
    lengths: Int64,
    added: AddedWeights | None,
) -> None:
    """One layer for whole prompts: `states` [tokens of all prompts, H], one prompt after another, become those that
    come out. Keys and values are written at the right of keys [P, M, D, T] and values [P, M, T, D].

    Args:
        lengths: tokens of each prompt.
    """
    prompts, key_heads, size, places = keys.shape
    both = inward(states, weights, tables, positions, eps, head_eps, key_heads, added)
    heads = both.shape[1] - 2 * key_heads
    found = np.empty((states.shape[0], heads * size), dtype=np.float32)
    first = 0
    for prompt in range(prompts):
        length = lengths[prompt]
        start = places - length
        _attend_prompt(both, heads // key_heads, first, length, keys[prompt], values[prompt], start, found)
        first += length
    outward(states, found, weights, eps, added)
