"""A layer of a plain-softmax architecture, compiled: what `rjepa.students.fused` does, without Python in it.

numba compiles them once and keeps them on disk; the products are those of the BLAS that SciPy brings. Whose weights
they get is `rjepa.students.native`.

Legend: rows R, prompts P, heads N, key heads M, hidden H, inner I, head size D, prompt tokens T.
"""

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - the BLAS that compiled products call: loaded, so that it is found

from rjepa.arrays import Float32, Int32, Int64

LayerWeights = tuple[Float32, Float32, Float32, Float32, Float32, Float32, Float32]
"""The weights of one layer: norms [2, H], before attention and before the MLP; the weight [in, out] of queries, keys
and values side by side, and their bias, empty where there is none; the weights of the attention's output, of gate and
up side by side, and of down; scales [N + M, D] (`rjepa.students.fused.scales_of`)."""
AddedWeights = tuple[Float32, Float32, Float32, Float32, Float32, Float32, Float32, Float32]
"""What a LoRA adds to a layer's four products: two thin weights of each, [in, rank] and [rank, out], empty where it
adds nothing."""
LayerArrays = tuple[Float32, Float32, Float32, Float32]
"""What `rjepa.students.fused.LayerCache.arrays` gives: keys and values of prompts, and the rows' own."""
Spans = tuple[Int64, Int64, Int64, Int64]
"""`prompt_of`, `starts`, `ends` and `free` of `rjepa.students.fused.Caches`."""
# Plain tuples: numba takes a microsecond longer for each named one in a call, and a layer takes 25.

Function = TypeVar("Function", bound=Callable[..., Any])

SMALL: Final = 1_000_000
"""Multiplications up to which OpenBLAS multiplies matrices where they lie. Larger ones it copies into another order
first, which for few rows takes as long as the product: sixteen rows of tiny-a took 805 microseconds at once, 570 in two
parts."""
_FEWEST: Final = 4
"""Rows that each part of a product has at least: every part reads all the weights again."""

_LOG2_E: Final = np.float32(1.4426950408889634)
_LN2_HIGH: Final = np.float32(0.693359375)
_LN2_LOW: Final = np.float32(-2.12194440e-4)
_LOWEST: Final = np.float32(-87.0)


_NUMBA: Final = cast(Any, numba.config)


def _kept_in() -> str:
    """The folder of compiled functions: another one for each state of all their sources. numba itself looks at a
    function's own file alone, and would go on with what the functions that it calls were before a change.
    """
    package = Path(__file__).parents[1]
    sources = b"".join(path.read_bytes() for path in sorted(package.glob("*/native*.py")))
    folder = Path(_NUMBA.CACHE_DIR or package / "__pycache__")
    return str(folder / f"native-{hashlib.sha256(sources).hexdigest()[:16]}")


_KEPT_IN: Final = _kept_in()


def compiled(function: Function) -> Function:
    """Compile a function when it is first called; it runs without Python's lock. Checks of types that tests wrap around
    it are taken off: they are Python, which cannot be compiled.
    """
    plain = inspect.unwrap(function)
    usual, _NUMBA.CACHE_DIR = _NUMBA.CACHE_DIR, _KEPT_IN
    try:
        return cast(Function, numba.njit(plain, cache=True, fastmath=True, nogil=True))
    finally:
        _NUMBA.CACHE_DIR = usual


@compiled
def product(states: Float32, weight: Float32, out: Float32) -> None:
    """`out` [R, O] of states [R, K] and a weight [K, O]."""
    rows, most = states.shape[0], SMALL // weight.size
    if rows <= most or most < _FEWEST:
        np.dot(states, weight, out)
        return
    parts = (rows + most - 1) // most
    size = (rows + parts - 1) // parts
    for first in range(0, rows, size):
        np.dot(states[first : first + size], weight, out[first : first + size])


@compiled
def add(more: Float32, to: Float32) -> None:
    """Add `more` to `to`, both [R, O]."""
    for row in range(to.shape[0]):
        for place in range(to.shape[1]):
            to[row, place] += more[row, place]


@compiled
def _add_product(states: Float32, down: Float32, up: Float32, out: Float32) -> None:
    """Add to `out` [R, O] the product of states [R, K] with two thin weights [K, r] and [r, O]."""
    if not down.size:
        return
    thin = np.empty((states.shape[0], down.shape[1]), dtype=np.float32)
    product(states, down, thin)
    added = np.empty(out.shape, dtype=np.float32)
    product(thin, up, added)
    add(added, out)


@compiled
def exponentials(values: Float32, bits: Int32, powers: Float32) -> None:
    """Replace each of `values`, which are at most 88, by its exponential. `bits` (int32) and `powers` (float32) are two
    views of one buffer, at least as long as `values`. Range reduction and polynomial are those of Cephes' expf, in
    loops that a compiler turns into vector instructions.
    """
    for place in range(values.size):
        value = max(values[place], _LOWEST)
        times = np.floor(value * _LOG2_E + np.float32(0.5))
        rest = value - times * _LN2_HIGH - times * _LN2_LOW
        found = np.float32(1.9875691500e-4)
        found = found * rest + np.float32(1.3981999507e-3)
        found = found * rest + np.float32(8.3334519073e-3)
        found = found * rest + np.float32(4.1665795894e-2)
        found = found * rest + np.float32(1.6666665459e-1)
        found = found * rest + np.float32(5.0000001201e-1)
        values[place] = found * rest * rest + rest + np.float32(1.0)
        bits[place] = (np.int32(times) + np.int32(127)) << np.int32(23)
    for place in range(values.size):
        values[place] *= powers[place]


@compiled
def relative_exponentials(scores: Float32, bits: Int32, powers: Float32) -> None:
    """Replace each of `scores` by its exponential relative to the highest one's: a softmax, but for its division.
    `bits` and `powers`: as in `exponentials`.
    """
    highest = scores[0]
    for place in range(scores.size):
        highest = max(highest, scores[place])
    for place in range(scores.size):
        scores[place] -= highest
    exponentials(scores, bits, powers)


@compiled
def normed(states: Float32, weight: Float32, eps: float, out: Float32) -> None:
    """RMSNorm of states [R, H]."""
    width = states.shape[1]
    for row in range(states.shape[0]):
        total = np.float32(0.0)
        for place in range(width):
            total += states[row, place] * states[row, place]
        scale = np.float32(1.0) / np.sqrt(total / np.float32(width) + np.float32(eps))
        for place in range(width):
            out[row, place] = states[row, place] * scale * weight[place]


@compiled
def _rotate(both: Float32, scales: Float32, cos: Float32, sin: Float32, positions: Int64, eps: float) -> None:
    """Queries and keys, the first of `both` [R, N + 2 M, D], at their positions, in place: normed if eps is not
    negative, scaled by `scales` [N + M, D], rotated.
    """
    size = both.shape[2]
    half = size // 2
    for row in range(both.shape[0]):
        position = positions[row]
        for head in range(scales.shape[0]):
            vector = both[row, head]
            scale = np.float32(1.0)
            if eps >= 0:
                total = np.float32(0.0)
                for place in range(size):
                    total += vector[place] * vector[place]
                scale = np.float32(1.0) / np.sqrt(total / np.float32(size) + np.float32(eps))
            for place in range(half):
                left = vector[place] * scale * scales[head, place]
                right = vector[place + half] * scale * scales[head, place + half]
                vector[place] = left * cos[position, place] + right * sin[position, place]
                vector[place + half] = right * cos[position, place + half] + left * sin[position, place + half]


@compiled
def _add_rows(to: Float32, factors: Float32, rows: Float32, first: int, last: int) -> None:
    """Add columns `first` to `last` of `rows`, each row times its factor, four rows in a loop. Slices, and not sums of
    indices: those might be negative, which keeps a loop from becoming vectors.
    """
    count = factors.size
    whole = count - count % 4
    for row in range(0, whole, 4):
        one, two, three, four = factors[row], factors[row + 1], factors[row + 2], factors[row + 3]
        row_one, row_two = rows[row, first:last], rows[row + 1, first:last]
        row_three, row_four = rows[row + 2, first:last], rows[row + 3, first:last]
        for place in range(to.size):
            to[place] += one * row_one[place] + two * row_two[place] + three * row_three[place] + four * row_four[place]
    for row in range(whole, count):
        factor, single = factors[row], rows[row, first:last]
        for place in range(to.size):
            to[place] += factor * single[place]


@compiled
def _attend(
    both: Float32,
    groups: int,
    arrays: LayerArrays,
    used: int,
    spans: Spans,
    scores: Float32,
    bits: Int32,
    powers: Float32,
    out: Float32,
) -> None:
    """Attention of each row's queries, in `both`, over its prompt's places from `starts` to `ends` and over its own
    from `free` on, the new one included, which is written here.
    """
    prefix_keys, prefix_values, own_keys, own_values = arrays
    prompt_of, starts, ends, free = spans
    rows, key_heads, size = own_keys.shape[0], own_keys.shape[1], own_keys.shape[2]
    heads = groups * key_heads
    for row in range(rows):
        prompt = prompt_of[row]
        first, last, skipped = starts[prompt], ends[prompt], free[row]
        read = last - first
        own = used + 1 - skipped
        weights = scores[: read + own]
        for key_head in range(key_heads):
            for place in range(size):
                own_keys[row, key_head, place, used] = both[row, heads + key_head, place]
                own_values[row, key_head, used, place] = both[row, heads + key_heads + key_head, place]
            keys, values = prefix_keys[prompt, key_head], prefix_values[prompt, key_head]
            new_keys, new_values = own_keys[row, key_head], own_values[row, key_head]
            for group in range(groups):
                query = both[row, key_head * groups + group]
                weights[:] = np.float32(0.0)
                _add_rows(weights[:read], query, keys, first, last)
                _add_rows(weights[read:], query, new_keys, skipped, used + 1)
                relative_exponentials(weights, bits, powers)
                total = np.float32(0.0)
                for token in range(read + own):
                    total += weights[token]
                found = out[row, (key_head * groups + group) * size : (key_head * groups + group + 1) * size]
                found[:] = np.float32(0.0)
                _add_rows(found, weights[:read], values[first:last], 0, size)
                _add_rows(found, weights[read:], new_values[skipped : used + 1], 0, size)
                for place in range(size):
                    found[place] /= total


@compiled
def inward(
    states: Float32,
    weights: LayerWeights,
    tables: tuple[Float32, Float32],
    positions: Int64,
    eps: float,
    head_eps: float,
    key_heads: int,
    added: AddedWeights | None,
) -> Float32:
    """Queries, keys and values [R, N + 2 M, D] of states [R, H], at their positions."""
    norms, weight, bias, _, _, _, scales = weights
    cos, sin = tables
    rows, width = states.shape
    read = np.empty((rows, width), dtype=np.float32)
    normed(states, norms[0], eps, read)
    flat = np.empty((rows, weight.shape[1]), dtype=np.float32)
    product(read, weight, flat)
    if added is not None:
        _add_product(read, added[0], added[1], flat)
    if bias.size:
        for row in range(rows):
            for place in range(flat.shape[1]):
                flat[row, place] += bias[place]
    heads, size = scales.shape
    both = flat.reshape(rows, heads + key_heads, size)
    _rotate(both, scales, cos, sin, positions, head_eps)
    return both


@compiled
def outward(states: Float32, found: Float32, weights: LayerWeights, eps: float, added: AddedWeights | None) -> None:
    """Add to states [R, H] what comes of attention, `found` [R, N * D], and then what the MLP makes of that."""
    norms, _, _, mixing, gate_up, down, _ = weights
    rows, width = states.shape
    inner = down.shape[0]
    read = np.empty((rows, width), dtype=np.float32)
    product(found, mixing, read)
    if added is not None:
        _add_product(found, added[2], added[3], read)
    add(read, states)
    normed(states, norms[1], eps, read)
    gates = np.empty((rows, 2 * inner), dtype=np.float32)
    product(read, gate_up, gates)
    if added is not None:
        _add_product(read, added[4], added[5], gates)
    held = np.empty(rows * inner, dtype=np.float32)
    for row in range(rows):
        for place in range(inner):
            held[row * inner + place] = min(-gates[row, place], np.float32(88.0))
    bits = np.empty(rows * inner, dtype=np.int32)
    exponentials(held, bits, bits.view(np.float32))
    risen = held.reshape(rows, inner)
    for row in range(rows):
        for place in range(inner):
            risen[row, place] = gates[row, place] / (np.float32(1.0) + risen[row, place]) * gates[row, inner + place]
    product(risen, down, read)
    if added is not None:
        _add_product(risen, added[6], added[7], read)
    add(read, states)


@compiled
def layer_step(
    states: Float32,
    weights: LayerWeights,
    tables: tuple[Float32, Float32],
    positions: Int64,
    eps: float,
    head_eps: float,
    arrays: LayerArrays,
    used: int,
    spans: Spans,
    added: AddedWeights | None,
) -> None:
    """One layer for one more token a row: `states` [R, H] become those that come out, the caches are extended.

    Args:
        tables: cos and sin [positions, D], with the sign of `rjepa.students.fused.Rotary` in the latter.
        head_eps: negative where queries and keys are not normed.
        used: of the rows' own places in `arrays`, before this token.
        added: None where there is no LoRA: the call is compiled without it.
    """
    prefix_keys, _, own_keys, _ = arrays
    key_heads, size = own_keys.shape[1], own_keys.shape[2]
    both = inward(states, weights, tables, positions, eps, head_eps, key_heads, added)
    heads = both.shape[1] - 2 * key_heads
    longest = prefix_keys.shape[3] + used + 1
    bits = np.empty(longest, dtype=np.int32)
    scores = np.empty(longest, dtype=np.float32)
    found = np.empty((states.shape[0], heads * size), dtype=np.float32)
    _attend(both, heads // key_heads, arrays, used, spans, scores, bits, bits.view(np.float32), found)
    outward(states, found, weights, eps, added)
