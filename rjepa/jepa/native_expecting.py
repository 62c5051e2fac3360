"""R-JEPA's next step as compiled code: a segment is read, and the one after it expected, without Python in between; and
what comes before the first segment, the sentences of the problem.

For a model in float32 on the CPU: its operations on one segment take less time than it takes to call them one by one.
`rjepa.jepa.expecting` is the same in torch's operations, and all there is on other devices or where numba is missing.

Chains of several problems are read together, whatever their lengths: `counts` [R] says how many keys of a memory are
each chain's own, from the first one on.

Legend: chains R, sentences S of a problem, columns C of latents, width W of states, blocks B, heads N, keys K, head
size D. Weights are views of the model's own, [in, out].
"""

import math
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from rjepa.arrays import Float32, Int64
from rjepa.jepa.encoder import Block, Encoder, sinusoids
from rjepa.jepa.model import RJepa
from rjepa.jepa.predictor import Predictor
from rjepa.students.native_guides import gelu, layer_normed, linear
from rjepa.students.native_layers import add, compiled, relative_exponentials

Layer = tuple[Float32, Float32]
"""A weight and a bias."""
BlockArrays = tuple[Layer, Layer, Layer, Layer, Layer, Layer, Layer]
"""Of one block: the norm before attention, queries, keys and values, output, the norm before the feed-forward, up and
down."""


@compiled
def _grown(memory: Float32) -> Float32:
    """A memory [B, 2, R, N, K, D] with room for one more key and value."""
    blocks, _, rows, heads, keys, size = memory.shape
    longer = np.empty((blocks, 2, rows, heads, keys + 1, size), dtype=np.float32)
    longer[:, :, :, :, :keys] = memory
    return longer


@compiled
def _keep(states: Float32, layer: Layer, counts: Int64, keys: Float32, values: Float32) -> None:
    """The next key and value [R, N, K, D] of what has the states [R, W]."""
    rows, heads, size = keys.shape[0], keys.shape[1], keys.shape[3]
    weight, bias = layer
    both = np.empty((rows, 2 * heads * size), dtype=np.float32)
    linear(states, weight, bias, both)
    for row in range(rows):
        for head in range(heads):
            for place in range(size):
                keys[row, head, counts[row], place] = both[row, head * size + place]
                values[row, head, counts[row], place] = both[row, (heads + head) * size + place]


@compiled
def _mix(states: Float32, normed: Float32, block: BlockArrays, counts: Int64, keys: Float32, values: Float32) -> None:
    """The rest of a block, whose memory has one more key than `counts` says; `states` [R, W] become those that come
    out. Keys and values [R or 1, N, K, D]: where there is one memory, all read that.
    """
    _, queries, _, output, norm, up, down = block
    rows, width = states.shape
    heads, size = keys.shape[1], keys.shape[3]
    scale = np.float32(1.0 / math.sqrt(size))
    asked = np.empty((rows, width), dtype=np.float32)
    linear(normed, queries[0], queries[1], asked)
    bits = np.empty(max(keys.shape[2], rows * up[1].size), dtype=np.int32)
    powers = bits.view(np.float32)
    scores = np.empty(keys.shape[2], dtype=np.float32)
    mixed = np.zeros((rows, width), dtype=np.float32)
    for row in range(rows):
        count, own = counts[row] + 1, row if keys.shape[0] == rows else 0
        weights = scores[:count]
        for head in range(heads):
            query = asked[row, head * size : (head + 1) * size]
            found = mixed[row, head * size : (head + 1) * size]
            for key in range(count):
                total = np.float32(0.0)
                for place in range(size):
                    total += query[place] * keys[own, head, key, place]
                weights[key] = total * scale
            relative_exponentials(weights, bits, powers)
            total = np.float32(0.0)
            for key in range(count):
                total += weights[key]
                for place in range(size):
                    found[place] += weights[key] * values[own, head, key, place]
            for place in range(size):
                found[place] /= total
    linear(mixed, output[0], output[1], asked)
    add(asked, states)
    layer_normed(states, norm[0], norm[1], mixed)
    wide = np.empty((rows, up[1].size), dtype=np.float32)
    linear(mixed, up[0], up[1], wide)
    held = np.empty(wide.size, dtype=np.float32)
    gelu(wide.reshape(wide.size), held, bits, powers)
    linear(wide, down[0], down[1], asked)
    add(asked, states)


@compiled
def _keep_all(states: Float32, layer: Layer, keys: Float32, values: Float32) -> None:
    """The keys and values [N, S, D] of sentences whose states are [S, W]."""
    heads, count, size = keys.shape
    weight, bias = layer
    both = np.empty((count, 2 * heads * size), dtype=np.float32)
    linear(states, weight, bias, both)
    for place in range(count):
        for head in range(heads):
            keys[head, place, :] = both[place, head * size : (head + 1) * size]
            values[head, place, :] = both[place, (heads + head) * size : (heads + head + 1) * size]


@compiled
def read_sentences(
    observed: Float32, added: Float32, project: Layer, blocks: tuple[BlockArrays, ...], norm: Layer, heads: int
) -> tuple[Float32, Float32]:
    """Read the sentences of a problem, which see each other: the memory of one chain that has read nothing else, and
    their states [S, W].

    Args:
        observed: [S, C], standardised.
        added: [S, W], codes of place and domain.
    """
    count, width = added.shape
    memory = np.empty((len(blocks), 2, 1, heads, count, width // heads), dtype=np.float32)
    states, normed = np.empty((count, width), dtype=np.float32), np.empty((count, width), dtype=np.float32)
    linear(observed, project[0], project[1], states)
    add(added, states)
    counts = np.full(count, count - 1, dtype=np.int64)
    for number in range(len(blocks)):
        block = blocks[number]
        layer_normed(states, block[0][0], block[0][1], normed)
        _keep_all(normed, block[2], memory[number, 0, 0], memory[number, 1, 0])
        _mix(states, normed, block, counts, memory[number, 0], memory[number, 1])
    layer_normed(states, norm[0], norm[1], normed)
    return memory, normed


@compiled
def remember_sentences(states: Float32, project: Layer, blocks: tuple[BlockArrays, ...], heads: int) -> Float32:
    """The predictor's memory of one chain of a problem whose sentences have these states [S, W]."""
    count, width = states.shape[0], project[1].size
    placed = np.empty((count, width), dtype=np.float32)
    linear(states, project[0], project[1], placed)
    memory = np.empty((len(blocks), 2, 1, heads, count, width // heads), dtype=np.float32)
    for number in range(len(blocks)):
        _keep_all(placed, blocks[number][2], memory[number, 0, 0], memory[number, 1, 0])
    return memory


@compiled
def read_segment(
    observed: Float32,
    added: Float32,
    project: Layer,
    blocks: tuple[BlockArrays, ...],
    norm: Layer,
    memory: Float32,
    counts: Int64,
) -> tuple[Float32, Float32]:
    """Read one more segment of each chain: the longer memory, and the segment's states [R, W].

    Args:
        observed: [R, C], standardised.
        added: [R, W], codes of place, domain and type.
    """
    longer = _grown(memory)
    rows, width = added.shape
    states = np.empty((rows, width), dtype=np.float32)
    linear(observed, project[0], project[1], states)
    add(added, states)
    normed = np.empty((rows, width), dtype=np.float32)
    for number in range(len(blocks)):
        block = blocks[number]
        keys, values = longer[number, 0], longer[number, 1]
        layer_normed(states, block[0][0], block[0][1], normed)
        _keep(normed, block[2], counts, keys, values)
        _mix(states, normed, block, counts, keys, values)
    layer_normed(states, norm[0], norm[1], normed)
    return longer, normed


@compiled
def predict(
    state: Float32,
    code: Float32,
    queries: Float32,
    project: Layer,
    blocks: tuple[BlockArrays, ...],
    norm: Layer,
    to_raw: Layer,
    to_latent: Layer,
    memory: Float32,
    counts: Int64,
) -> tuple[Float32, Float32, Float32]:
    """What is expected after the newest segment: the longer memory of the predictor, the raw latent [R, C or 0], and
    the target encoder's state [R, W].

    Args:
        state: [R, W] of the newest segment.
        code: [R, P], of its place.
        queries: [R, P], what asks for the next one.
    """
    longer = _grown(memory)
    rows, width = queries.shape
    placed = np.empty((rows, width), dtype=np.float32)
    linear(state, project[0], project[1], placed)
    add(code, placed)
    states, normed = queries.copy(), np.empty((rows, width), dtype=np.float32)
    for number in range(len(blocks)):
        block = blocks[number]
        keys, values = longer[number, 0], longer[number, 1]
        _keep(placed, block[2], counts, keys, values)
        layer_normed(states, block[0][0], block[0][1], normed)
        _mix(states, normed, block, counts, keys, values)
    layer_normed(states, norm[0], norm[1], normed)
    raw = np.empty((rows, to_raw[1].size), dtype=np.float32)
    if to_raw[1].size:
        linear(normed, to_raw[0], to_raw[1], raw)
    latent = np.empty((rows, to_latent[1].size), dtype=np.float32)
    linear(normed, to_latent[0], to_latent[1], latent)
    return longer, raw, latent


class NativeModel:
    """The weights of a model as compiled steps take them."""

    def __init__(self, model: RJepa) -> None:
        self.context, self.target = NativeEncoder(model.context), NativeEncoder(model.target)
        predictor: Predictor = model.predictor
        raw = predictor.to_raw
        width = predictor.norm.weight.numel()
        nothing = np.empty((width, 0), dtype=np.float32), np.empty(0, dtype=np.float32)
        self._project, self._norm = _layer(predictor.project), _norm(predictor.norm)
        self._to_raw, self._to_latent = nothing if raw is None else _layer(raw), _layer(predictor.to_latent)
        self._blocks, self._heads = tuple(map(_block, predictor.blocks)), predictor.blocks[0].heads
        self._codes = Codes(width)
        self._mask_token, self._domain = _array(predictor.mask_token), _array(predictor.domain.weight)

    def remember(self, sentences: Float32) -> Float32:
        """As `remember_sentences`."""
        found: Float32 = remember_sentences(sentences, self._project, self._blocks, self._heads)
        return found

    def predict(
        self, state: Float32, places: Int64, domains: Int64, memory: Float32, counts: Int64
    ) -> tuple[Float32, Float32, Float32]:
        """As the compiled function of that name, for newest segments at these places."""
        queries = self._mask_token + self._domain[domains] + self._codes.at(places + 1)
        about = state, self._codes.at(places), queries, self._project, self._blocks, self._norm
        found: tuple[Float32, Float32, Float32] = predict(*about, self._to_raw, self._to_latent, memory, counts)
        return found


class NativeEncoder:
    """The weights of an encoder."""

    def __init__(self, encoder: Encoder) -> None:
        width = encoder.domain.embedding_dim
        self._project, self._blocks = _layer(encoder.project), tuple(map(_block, encoder.blocks))
        self._heads = encoder.blocks[0].heads
        sentences = encoder.project_sentences
        self._project_sentences = None if sentences is None else _layer(sentences)
        self._norm = np.ones(width, dtype=np.float32), np.zeros(width, dtype=np.float32)
        self._codes, self._domain = Codes(width), _array(encoder.domain.weight)
        self._types = None if encoder.step_type is None else _array(encoder.step_type.weight)

    def read_sentences(self, sentences: Float32, domain: int) -> tuple[Float32, Float32]:
        """As the compiled function of that name, of a domain; nothing is read where the encoder reads no sentences."""
        project = self._project_sentences
        if project is None:
            sentences, project = sentences[:0], self._project
        added = self._codes.at(np.arange(len(sentences))) + self._domain[domain]
        found: tuple[Float32, Float32] = read_sentences(
            sentences, added, project, self._blocks, self._norm, self._heads
        )
        return found

    def read(
        self, observed: Float32, places: Int64, domains: Int64, types: Int64 | None, memory: Float32, counts: Int64
    ) -> tuple[Float32, Float32]:
        """As `read_segment`, of segments at these places."""
        added = self._codes.at(places) + self._domain[domains]
        if self._types is not None:
            added += self._types[np.zeros_like(places) if types is None else types]
        found: tuple[Float32, Float32] = read_segment(
            observed, added, self._project, self._blocks, self._norm, memory, counts
        )
        return found


class Codes:
    """`rjepa.jepa.encoder.sinusoids`, made once."""

    def __init__(self, width: int) -> None:
        self._width, self._table = width, np.empty((0, width), dtype=np.float32)

    def at(self, places: Int64) -> Float32:
        """[places, W]."""
        longest = int(places.max(initial=-1)) + 1
        if longest > len(self._table):
            self._table = sinusoids(2 * longest, self._width, torch.device("cpu")).numpy()
        found: Float32 = self._table[places]
        return found


_MODELS: WeakKeyDictionary[RJepa, NativeModel] = WeakKeyDictionary()
"""Made once a model: looking up a hundred weights takes as long as two steps."""


def native_model(model: RJepa) -> NativeModel | None:
    """The model's weights; None where it is not in float32 on the CPU. They are views: the model may be trained on."""
    if model.device.type != "cpu" or model.predictor.mask_token.dtype != torch.float32:
        return None
    if model not in _MODELS:
        _MODELS[model] = NativeModel(model)
    return _MODELS[model]


def _block(block: Block) -> BlockArrays:
    return (
        _norm(block.norm_queries),
        _layer(block.queries),
        _layer(block.keys_values),
        _layer(block.out),
        _norm(block.norm_hidden),
        _layer(block.up),
        _layer(block.down),
    )


def _layer(layer: nn.Linear) -> Layer:
    return _array(layer.weight).T, _array(layer.bias)


def _norm(norm: nn.LayerNorm) -> Layer:
    return _array(cast(Tensor, norm.weight)), _array(cast(Tensor, norm.bias))


def _array(tensor: Any) -> Float32:
    array: Float32 = tensor.detach().numpy()
    return array
