"""Guides (`rjepa.students.guides`) as compiled code: their decoder reads what rows drew last, and biases the next.

The decoder is a pre-norm transformer with rotary positions, `rjepa.verbalizer.model`, without Python in it.

Legend: as `rjepa.students.guides`; guided rows G of R that are fed together, tokens of the student N.
"""

import math

import numpy as np

from rjepa.arrays import Bools, Float32, Int32, Int64
from rjepa.students.guides import BlockArrays, GuideArrays
from rjepa.students.native_layers import add, compiled, exponentials, product, relative_exponentials

# Numbers of the error function's approximation by Abramowitz and Stegun, 7.1.26: wrong by at most 1.5e-7.
_T = np.float32(0.3275911)
_A1, _A2, _A3 = np.float32(0.254829592), np.float32(-0.284496736), np.float32(1.421413741)
_A4, _A5 = np.float32(-1.453152027), np.float32(1.061405429)
_ROOT_HALF = np.float32(0.7071067811865476)
_EPS = np.float32(1e-5)
"""Of torch's LayerNorm."""
_LOWEST = np.float32(-3e38)
"""Below every number here. Compiled code may take it that nothing is infinite."""


@compiled
def layer_normed(states: Float32, weight: Float32, bias: Float32, out: Float32) -> None:
    """LayerNorm of states [G, W]."""
    width = states.shape[1]
    for row in range(states.shape[0]):
        mean = np.float32(0.0)
        for place in range(width):
            mean += states[row, place]
        mean /= np.float32(width)
        total = np.float32(0.0)
        for place in range(width):
            total += (states[row, place] - mean) * (states[row, place] - mean)
        scale = np.float32(1.0) / np.sqrt(total / np.float32(width) + _EPS)
        for place in range(width):
            out[row, place] = (states[row, place] - mean) * scale * weight[place] + bias[place]


@compiled
def linear(states: Float32, weight: Float32, bias: Float32, out: Float32) -> None:
    """`out` [G, O] of states [G, I], a weight [I, O] and a bias."""
    product(states, weight, out)
    for row in range(out.shape[0]):
        for place in range(out.shape[1]):
            out[row, place] += bias[place]


@compiled
def gelu(values: Float32, held: Float32, bits: Int32, powers: Float32) -> None:
    """GELU of `values`, in place. The others are room to work in, as long."""
    for place in range(values.size):
        held[place] = np.float32(-0.5) * values[place] * values[place]
    exponentials(held, bits, powers)
    for place in range(values.size):
        value = values[place]
        near = np.float32(1.0) / (np.float32(1.0) + _T * abs(value) * _ROOT_HALF)
        tail = near * (_A1 + near * (_A2 + near * (_A3 + near * (_A4 + near * _A5)))) * held[place]
        share = np.float32(1.0) - np.float32(0.5) * tail if value > 0 else np.float32(0.5) * tail
        values[place] = value * share


@compiled
def _mix(
    read: Float32,
    chosen: Int64,
    fed: Int64,
    cos: Float32,
    sin: Float32,
    keys: Float32,
    values: Float32,
    bits: Int32,
    powers: Float32,
    out: Float32,
) -> None:
    """Attention of one more token a row over those of its step: `read` [G, 3 W] holds queries, keys and values, of
    which the last two are kept in `keys`, `values` [S, N, T, D].
    """
    heads, room, size = keys.shape[1], keys.shape[2], keys.shape[3]
    half, width = size // 2, heads * size
    scale = np.float32(1.0 / math.sqrt(size))
    scores = np.empty(room, dtype=np.float32)
    for row in range(chosen.size):
        place, at = chosen[row], fed[chosen[row]]
        for head in range(heads):
            query = read[row, head * size : (head + 1) * size]
            key = read[row, width + head * size : width + (head + 1) * size]
            value = read[row, 2 * width + head * size : 2 * width + (head + 1) * size]
            kept_keys, kept_values = keys[place, head], values[place, head]
            for pair in range(half):
                one, two = key[pair], key[pair + half]
                kept_keys[at, pair] = one * cos[at, pair] - two * sin[at, pair]
                kept_keys[at, pair + half] = two * cos[at, pair] + one * sin[at, pair]
                one, two = query[pair], query[pair + half]
                query[pair] = (one * cos[at, pair] - two * sin[at, pair]) * scale
                query[pair + half] = (two * cos[at, pair] + one * sin[at, pair]) * scale
            kept_values[at, :] = value
            weights = scores[: at + 1]
            for token in range(at + 1):
                total = np.float32(0.0)
                for pair in range(size):
                    total += query[pair] * kept_keys[token, pair]
                weights[token] = total
            relative_exponentials(weights, bits, powers)
            total = np.float32(0.0)
            found = out[row, head * size : (head + 1) * size]
            found[:] = np.float32(0.0)
            for token in range(at + 1):
                total += weights[token]
                for pair in range(size):
                    found[pair] += weights[token] * kept_values[token, pair]
            for pair in range(size):
                found[pair] /= total


@compiled
def _block(
    states: Float32,
    chosen: Int64,
    fed: Int64,
    weights: BlockArrays,
    cos: Float32,
    sin: Float32,
    keys: Float32,
    values: Float32,
    bits: Int32,
    powers: Float32,
) -> None:
    """One block for one more token of each of the `chosen` rows [G]; `states` [G, W] become those that come out."""
    norms, inward, inward_bias, outward, outward_bias, up, up_bias, down, down_bias = weights
    rows, width = states.shape
    normed = np.empty((rows, width), dtype=np.float32)
    layer_normed(states, norms[0], norms[1], normed)
    read = np.empty((rows, 3 * width), dtype=np.float32)
    linear(normed, inward, inward_bias, read)
    _mix(read, chosen, fed, cos, sin, keys, values, bits, powers, normed)
    found = np.empty((rows, width), dtype=np.float32)
    linear(normed, outward, outward_bias, found)
    add(found, states)
    layer_normed(states, norms[2], norms[3], normed)
    wide = np.empty((rows, up.shape[1]), dtype=np.float32)
    linear(normed, up, up_bias, wide)
    held = np.empty(wide.size, dtype=np.float32)
    gelu(wide.reshape(wide.size), held, bits, powers)
    linear(wide, down, down_bias, found)
    add(found, states)


@compiled
def _read(places: Int64, columns: Int64, watched: Bools, ids: Int64, guides: GuideArrays) -> None:
    """Read what these rows have drawn of their steps since their guides read last."""
    (embedding, blocks, norm, _, _, place_of, _, _, cos, sin, _), state = guides
    active, first, fed, _, _, _, _, added, last, keys, values = state
    width = embedding.shape[1]
    while True:
        chosen = np.empty(places.size, dtype=np.int64)
        count = 0
        for row in range(places.size):
            place = places[row]
            if watched[row] and active[place] and fed[place] <= columns[row] - first[place]:
                chosen[count] = place
                count += 1
        if count == 0:
            return
        chosen = chosen[:count]
        states = np.empty((count, width), dtype=np.float32)
        for index in range(count):
            place = chosen[index]
            read = 0 if fed[place] == 0 else place_of[ids[place, first[place] + fed[place] - 1]]
            for column in range(width):
                states[index, column] = embedding[read, column] + added[place, column]
        bits = np.empty(max(count * blocks[0][5].shape[1], keys.shape[3]), dtype=np.int32)
        powers = bits.view(np.float32)
        for number in range(len(blocks)):
            _block(states, chosen, fed, blocks[number], cos, sin, keys[number], values[number], bits, powers)
        normed = np.empty((count, width), dtype=np.float32)
        layer_normed(states, norm[0], norm[1], normed)
        for index in range(count):
            place = chosen[index]
            last[place] = normed[index]
            fed[place] += 1


@compiled
def guide(
    places: Int64,
    columns: Int64,
    watched: Bools,
    ids: Int64,
    guides: GuideArrays,
    logits: Float32,
    biased: Float32,
    is_biased: Bools,
) -> None:
    """Fill `biased` [R, N] with the logits of those rows that are guided and past their label, and what their guides
    add; `is_biased` [R] says which.

    Args:
        places, columns, watched, ids: as in `rjepa.students.fused.Drawing`.
    """
    _read(places, columns, watched, ids, guides)
    (_, _, _, head, head_bias, _, tokens, _, _, _, _), state = guides
    active, _, _, weight, floor, begun, _, _, last, _, _ = state
    count = 0
    for row in range(places.size):
        place = places[row]
        is_biased[row] = watched[row] and active[place] and begun[place]
        count += is_biased[row]
    if count == 0:
        return
    size, first = head.shape[1], head.shape[1] - tokens.size
    states = np.empty((count, head.shape[0]), dtype=np.float32)
    found = np.empty((count, size), dtype=np.float32)
    bits = np.empty(size, dtype=np.int32)
    powers = bits.view(np.float32)
    held = np.empty(size, dtype=np.float32)
    index = 0
    for row in range(places.size):
        if is_biased[row]:
            states[index] = last[places[row]]
            index += 1
    product(states, head, found)
    index = 0
    for row in range(places.size):
        if not is_biased[row]:
            continue
        place, words = places[row], found[index]
        index += 1
        highest = _LOWEST
        for at in range(size):
            words[at] += head_bias[at]
            highest = max(highest, words[at])
        for at in range(size):
            held[at] = words[at] - highest
        exponentials(held, bits, powers)
        total = np.float32(0.0)
        for at in range(size):
            total += held[at]
        normaliser = highest + np.log(total)
        for token in range(logits.shape[1]):
            biased[row, token] = logits[row, token] + weight[place] * floor[place]
        for at in range(tokens.size):
            surely = max(words[first + at] - normaliser, floor[place])
            biased[row, tokens[at]] = logits[row, tokens[at]] + weight[place] * surely


def biases(places: Int64, ids: Int64, drawn: Int64, guides: GuideArrays, vocabulary: int) -> Float32:
    """What the guides of these rows add to the logits of their next token, [R, N]: zeros before the label of a step.

    Args:
        places: rows [R] that are guided.
        ids, drawn: tokens of all rows, and how many each has.
        vocabulary: N.
    """
    added = np.zeros((len(places), vocabulary), dtype=np.float32)
    every, is_biased = np.ones(len(places), dtype=np.bool_), np.zeros(len(places), dtype=np.bool_)
    # Logits may be infinite where a token is forbidden, and compiled code may take it that nothing is.
    guide(places, drawn[places], every, ids, guides, np.zeros_like(added), added, is_biased)
    return added


@compiled
def may_end_label(place: int, column: int, ids: Int64, guides: GuideArrays) -> bool:
    """Whether the token in this column of a row's ids may make the label of its step whole, which is to be found out; a
    label that is known is noted in the tables.
    """
    (_, _, _, _, _, _, _, plain, _, _, labels), state = guides
    active, first, _, _, _, begun, near, _, _, _, _ = state
    if not active[place] or begun[place]:
        return False
    count = column + 1 - first[place]
    for label in range(labels.shape[0] if count <= labels.shape[1] else 0):
        same = count == labels.shape[1] or labels[label, count] < 0
        for token in range(count):
            same = same and labels[label, token] == ids[place, first[place] + token]
        if same:
            begun[place] = True
            return False
    near[place] |= not plain[ids[place, column]]
    return bool(near[place])
