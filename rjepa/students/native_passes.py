"""Several passes of a session as one compiled call: draw a token for each row, note it, feed it, until one may end
something.

A pass of a small model takes less time than the Python around it. What a token ends stays with
`rjepa.students.events`. How a token is drawn is `rjepa.students.drawing`; here it is the same, compiled.

Legend: as `rjepa.students.native_layers`; vocabulary V.
"""

import math

import numpy as np
from jaxtyping import Float
from torch import Tensor

from rjepa.arrays import Bools, Float32, Int32, Int64
from rjepa.students.fused import Caches, Drawing
from rjepa.students.guides import GuideArrays
from rjepa.students.native import NativeDecoder
from rjepa.students.native_guides import guide, may_end_label
from rjepa.students.native_layers import (
    AddedWeights,
    LayerArrays,
    LayerWeights,
    Spans,
    compiled,
    exponentials,
    layer_step,
    normed,
    product,
)


@compiled
def _cumulative(logits: Float32, temperature: float, bits: Int32, powers: Float32, out: Float32) -> tuple[float, float]:
    """Fill `out` [V] with the exponentials of logits over the temperature, less the highest; that, and their sum."""
    highest = logits[0]
    for token in range(logits.size):
        highest = max(highest, logits[token])
    degree = np.float32(temperature)
    for token in range(logits.size):
        out[token] = (logits[token] - highest) / degree
    exponentials(out, bits, powers)
    total = 0.0
    for token in range(logits.size):
        total += np.float64(out[token])
    return highest, total


@compiled
def _draw(
    logits: Float32,
    wanted: Float32,
    is_biased: bool,
    noise: float,
    greedy: bool,
    temperature: float,
    bits: Int32,
    powers: Float32,
    held: Float32,
) -> tuple[int, float, float]:
    """A token drawn from the logits `wanted` [V], which are others than the student's where `is_biased`; and by the
    student's logits its log-probability at temperature 1, and KL(uniform || model). `held` [V] and `bits`, `powers` are
    room to work in.
    """
    highest, total = _cumulative(wanted, temperature, bits, powers, held)
    token = logits.size - 1
    if greedy:
        token = 0
        for place in range(logits.size):
            if wanted[place] > wanted[token]:
                token = place
    else:
        goal, reached = np.float64(noise) * total, 0.0
        for place in range(logits.size):
            reached += np.float64(held[place])
            if reached > goal:
                token = place
                break
    if is_biased or temperature != 1.0:
        highest, total = _cumulative(logits, 1.0, bits, powers, held)
    normaliser = np.float64(highest) + math.log(total)
    mean = 0.0
    for place in range(logits.size):
        mean += np.float64(logits[place])
    mean /= logits.size
    return token, logits[token] - normaliser, normaliser - mean - math.log(logits.size)


@compiled
def _run(
    most: int,
    least: int,
    logits: Float32,
    rows: tuple[Int64, Int64, Bools, Bools, Bools, Float32],
    ends: Bools,
    tables: tuple[Float32, Int64, Float32, Float32],
    embedding: Float32,
    layers: tuple[LayerWeights, ...],
    added: tuple[AddedWeights, ...] | None,
    top: tuple[Float32, Float32, Float32],
    rotary: tuple[Float32, Float32],
    positions: Int64,
    eps: float,
    head_eps: float,
    depth: int,
    caches: tuple[LayerArrays, ...],
    used: int,
    spans: Spans,
    guides: GuideArrays | None,
) -> int:
    """Draw at most `most` tokens a row, one after another, each fed before the next; end with the first that may end
    something, but not before `least`. Gives how many were drawn.

    `logits` [R, V] are those that the first token is drawn from, and become those after the last. Caches have room for
    `most` more tokens; positions [R] are those of the next tokens.

    Args:
        rows: `places`, `columns`, `moves`, `watched`, `greedy` and `temperature` of a `rjepa.students.fused.Drawing`,
            of which `columns`, like `positions`, move on with what is fed.
        tables: `noise`, `ids`, `scores` and `states` of it.
        top: the last norm [H], the head [H, V] and its bias [V or 0].
        depth: how many layers lie below the states that are noted.
        guides: None where no row is guided: the call is compiled without.
    """
    places, columns, moves, watched, greedy, temperature = rows
    noise, ids, scores, states = tables
    norm, head, head_bias = top
    count, vocabulary = logits.shape
    width = embedding.shape[1]
    bits = np.empty(vocabulary, dtype=np.int32)
    powers = bits.view(np.float32)
    held = np.empty(vocabulary, dtype=np.float32)
    fed = np.empty((count, width), dtype=np.float32)
    read = np.empty((count, width), dtype=np.float32)
    waste = ids.shape[1] - 1
    ended = False
    biased, is_biased = logits, np.zeros(count, dtype=np.bool_)
    if guides is not None:
        biased = np.empty_like(logits)
    for done in range(most):
        if guides is not None:
            guide(places, columns, watched, ids, guides, logits, biased, is_biased)
        for row in range(count):
            place, column = places[row], columns[row]
            wanted = biased[row] if is_biased[row] else logits[row]
            token, logprob, certainty = _draw(
                logits[row],
                wanted,
                is_biased[row],
                noise[place, column],
                greedy[row],
                temperature[row],
                bits,
                powers,
                held,
            )
            ids[place, column] = token
            scores[0, place, column] = logprob
            scores[1, place, column] = certainty
            ended |= watched[row] and ends[token]
            if guides is not None and watched[row]:
                ended |= may_end_label(place, column, ids, guides)
            fed[row] = embedding[token]
        for number in range(len(layers)):
            if number == depth:
                _note(states, columns, places, fed)
            weights, cache, place = layers[number], caches[number], used + done
            if added is None:
                layer_step(fed, weights, rotary, positions, eps, head_eps, cache, place, spans, None)
            else:
                layer_step(fed, weights, rotary, positions, eps, head_eps, cache, place, spans, added[number])
        normed(fed, norm, eps, read)
        if depth == len(layers):
            _note(states, columns, places, read)
        product(read, head, logits)
        for row in range(count):
            if head_bias.size:
                for token in range(vocabulary):
                    logits[row, token] += head_bias[token]
            positions[row] += 1
            if moves[row]:
                columns[row] = min(columns[row] + 1, waste)
        if ended and done + 1 >= least:
            return done + 1
    return most


@compiled
def _note(states: Float32, columns: Int64, places: Int64, found: Float32) -> None:
    """Keep the states [R, H] of the tokens that were just fed, where a session keeps any."""
    if states.shape[2]:
        for row in range(places.size):
            states[columns[row], places[row]] = found[row]


class NativePasses(NativeDecoder):
    """A `rjepa.students.fused.DrawingDecoder` of compiled passes."""

    def draw(
        self, most: int, least: int, logits: Float[Tensor, "rows vocab"], drawing: Drawing, caches: Caches, depth: int
    ) -> int:
        """As `rjepa.students.fused.DrawingDecoder.draw`."""
        self.reach(caches.longest + most)
        arrays = tuple(layer.arrays() for layer in caches.layers)
        drawn: int = _run(
            most,
            least,
            logits.numpy(),
            (
                drawing.places,
                drawing.columns,
                drawing.moves,
                drawing.watched,
                drawing.greedy,
                drawing.temperature,
            ),
            drawing.ends,
            (drawing.noise, drawing.ids, drawing.scores, drawing.states),
            self.embedding,
            self.layers,
            self.added,
            self.top,
            self.tables,
            caches.positions.numpy().copy(),
            self.eps,
            self.head_eps,
            depth,
            arrays,
            caches.layers[0].used,
            (caches.prompt_of, caches.starts, caches.ends, caches.free),
            drawing.guides,
        )
        for layer in caches.layers:
            layer.used += drawn
        return drawn
