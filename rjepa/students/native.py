"""A decoder of compiled layers (`rjepa.students.native_layers`), for float32 weights on the CPU: a small model's
operations take less time than it takes to call them one by one. `rjepa.students.fused` alone imports this, and does
without where numba is missing.

Legend: rows R, hidden H.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import numpy as np
import threadpoolctl
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from rjepa.arrays import Float32, Int64
from rjepa.students.fused import Caches, FusedDecoder, Rotary, norms_heads, scales_of
from rjepa.students.low_rank import base_of, low_rank_of
from rjepa.students.native_layers import SMALL, AddedWeights, LayerWeights, layer_step, normed, product
from rjepa.students.native_prompts import prompt_step

_NOTHING: Final = cast(AddedWeights, (np.empty((0, 0), dtype=np.float32),) * 8)
"""Of a layer to which a LoRA adds nothing."""
_MOST_READ: Final = 500_000_000
"""Multiplications of prompts that are read together: some ten milliseconds. What takes more is read in parts, whose
states stay in near caches, where there is one thread. Where there are several, transformers' forward is the faster way
to read it: it has little of its own beside the products, and spreads them over threads; but it multiplies the padding
of short prompts, too."""


def _use_one_thread() -> None:
    """Keep SciPy's BLAS, whose products these are, to one thread: it would spread products of a hundred microseconds
    over all cores, and wait for them.
    """
    for library in threadpoolctl.ThreadpoolController().lib_controllers:
        if "scipy.libs" in str(library.filepath):
            library.set_num_threads(1)


class NativeDecoder:
    """A `rjepa.students.fused.Decoder` of compiled layers. It keeps a copy of the weights in the order they want, which
    all LoRAs of a base share. Several rows of a model with large products take torch's, which are faster there: for a
    model of 30 M parameters 25 ms a pass of eight rows in place of 33, but 21 in place of 10 for one row.
    """

    def __init__(self, model: PreTrainedModel, beside: "NativeDecoder | None" = None) -> None:
        """model: in float32 on the CPU, of an architecture that `rjepa.students.fused` knows. beside: as in its
        `make_decoder`.
        """
        _use_one_thread()
        whole: Any = model
        base, config = whole.model, model.config
        attention = base.layers[0].self_attn
        heads = int(config.num_attention_heads)
        key_heads = heads // int(attention.num_key_value_groups)
        self._key_heads = key_heads
        self._weights: int = sum(one.numel() for one in base.layers.parameters())
        self.eps = float(base.norm.variance_epsilon)
        self.head_eps = float(attention.q_norm.variance_epsilon) if norms_heads(attention) else -1.0
        self._rotary = Rotary(base, int(attention.head_dim))
        self.tables = _array(self._rotary.cos), _array(self._rotary.sin)
        self.embedding = _array(base.embed_tokens.weight)
        bias = whole.lm_head.bias
        self.top: tuple[Float32, Float32, Float32] = (
            _array(base.norm.weight),
            _across(whole.lm_head) if beside is None else beside.top[1],
            np.empty(0, dtype=np.float32) if bias is None else _array(bias),
        )
        largest = max(one.numel() for one in base.layers.parameters())
        shared = None if beside is None else beside._torch
        self._torch: FusedDecoder | None = FusedDecoder(model, shared) if 2 * largest > SMALL else None
        own = () if beside is None else beside.layers
        self.layers: tuple[LayerWeights, ...] = own or tuple(_weights(one, heads, key_heads) for one in base.layers)
        found = [_added(layer) for layer in base.layers]
        self.added = tuple(one or _NOTHING for one in found) if any(found) else None

    def reach(self, longest: int) -> None:
        """Have rotary tables of at least so many positions."""
        if longest > len(self.tables[0]):
            self._rotary.reach(longest)
            self.tables = _array(self._rotary.cos), _array(self._rotary.sin)

    def draws(self, rows: int) -> bool:
        """As `rjepa.students.fused.DrawingDecoder.draws`."""
        return rows == 1 or self._torch is None

    def reads(self, tokens: int) -> bool:
        """As `rjepa.students.fused.ReadingDecoder.reads`."""
        return tokens * self._weights <= _MOST_READ or torch.get_num_threads() == 1

    def read(
        self,
        input_ids: Int[Tensor, "prompts tokens"],
        mask: Bool[Tensor, "prompts tokens"],
        kept: int,
        depth: int,
        see: Callable[[Tensor], None],
    ) -> tuple[list[tuple[Tensor, Tensor]], Float[Tensor, "prompts kept vocab"]]:
        """As `rjepa.students.fused.ReadingDecoder.read`."""
        prompts, longest = mask.shape
        self.reach(longest)
        ids, held = input_ids.numpy(), mask.numpy()
        lengths = held.sum(axis=1)
        heads, size, width = self._key_heads, self.tables[0].shape[1], self.embedding.shape[1]
        # Zeros where nothing is: what lies there is multiplied by weights of zero.
        keys, values = (
            [np.zeros((prompts, heads, *shape), dtype=np.float32) for _ in self.layers]
            for shape in ((size, longest), (longest, size))
        )
        seen, last = (np.zeros((prompts, longest, width), dtype=np.float32) for _ in range(2))
        for part in _parts(lengths, _MOST_READ // self._weights):
            here = held[part]
            positions = np.concatenate([np.arange(length) for length in lengths[part]])
            states = self.embedding[ids[part][here]]
            for number, weights in enumerate(self.layers):
                added = None if self.added is None else self.added[number]
                caches = keys[number][part], values[number][part], lengths[part]
                prompt_step(states, weights, self.tables, positions, self.eps, self.head_eps, *caches, added)
                if number + 1 == depth:
                    seen[part][here] = states
            read = np.empty_like(states)
            normed(states, self.top[0], self.eps, read)
            last[part][here] = read
        see(torch.from_numpy(last if depth == len(self.layers) else seen))
        logits = self._logits(np.ascontiguousarray(last[:, longest - kept :]).reshape(prompts * kept, -1))
        pairs = [(torch.from_numpy(one), torch.from_numpy(two)) for one, two in zip(keys, values, strict=True)]
        return pairs, torch.from_numpy(logits).view(prompts, kept, -1)

    def step(
        self, tokens: Int[Tensor, " rows"], caches: Caches, depth: int, see: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "rows vocab"]:
        """As `rjepa.students.fused.Decoder.step`."""
        if self._torch is not None and len(tokens) > 1:
            return self._torch.step(tokens, caches, depth, see)
        self.reach(caches.longest)
        positions = caches.positions.numpy()
        spans = caches.prompt_of, caches.starts, caches.ends, caches.free
        states = self.embedding[tokens.numpy()]
        for number, (weights, layer) in enumerate(zip(self.layers, caches.layers, strict=True), 1):
            arrays, used = layer.arrays(), layer.used
            added = None if self.added is None else self.added[number - 1]
            layer_step(states, weights, self.tables, positions, self.eps, self.head_eps, arrays, used, spans, added)
            layer.used += 1
            if number == depth < len(self.layers):
                states = self._shown(states, see)
        read = np.empty_like(states)
        normed(states, self.top[0], self.eps, read)
        if depth == len(self.layers):
            read = self._shown(read, see)
        return torch.from_numpy(self._logits(read))

    def _logits(self, states: Float32) -> Float32:
        _, head, head_bias = self.top
        logits = np.empty((len(states), head.shape[1]), dtype=np.float32)
        product(states, head, logits)
        return logits + head_bias if head_bias.size else logits

    def _shown(self, states: Float32, see: Callable[[Tensor], Tensor]) -> Float32:
        """Show states to `see`; a copy of what it returns, because it may keep that, and the layers write in place."""
        found = see(torch.from_numpy(states))
        return found.numpy().copy()


def _parts(lengths: Int64, most: int) -> Iterator[slice]:
    """Prompts one after another, at most `most` tokens together, but each at least alone."""
    first = tokens = 0
    for place, length in enumerate(lengths.tolist()):
        if tokens and tokens + length > most:
            yield slice(first, place)
            first, tokens = place, 0
        tokens += length
    yield slice(first, len(lengths))


def _weights(layer: Any, heads: int, key_heads: int) -> LayerWeights:
    """The weights of one layer."""
    attention, mlp = layer.self_attn, layer.mlp
    inward = (attention.q_proj, attention.k_proj, attention.v_proj)
    has_bias = base_of(attention.q_proj).bias is not None
    return (
        np.stack([_array(layer.input_layernorm.weight), _array(layer.post_attention_layernorm.weight)]),
        _across(*inward),
        np.concatenate([_array(base_of(one).bias) for one in inward]) if has_bias else np.empty(0, dtype=np.float32),
        _across(attention.o_proj),
        _across(mlp.gate_proj, mlp.up_proj),
        _across(mlp.down_proj),
        _array(scales_of(attention, heads, key_heads)),
    )


def _added(layer: Any) -> AddedWeights | None:
    """What a LoRA adds to one layer; None where it adds nothing."""
    attention, mlp = layer.self_attn, layer.mlp
    products = (
        (attention.q_proj, attention.k_proj, attention.v_proj),
        (attention.o_proj,),
        (mlp.gate_proj, mlp.up_proj),
        (mlp.down_proj,),
    )
    found = [low_rank_of(*layers) for layers in products]
    if not any(found):
        return None
    pairs = [_NOTHING[:2] if one is None else (_array(one.down), _array(one.up)) for one in found]
    return cast(AddedWeights, tuple(array for pair in pairs for array in pair))


def _across(*layers: Any) -> Float32:
    """The weights [in, out] of layers that read the same, side by side, without what a LoRA adds."""
    return np.ascontiguousarray(np.concatenate([_array(base_of(layer).weight) for layer in layers]).T)


def _array(tensor: Tensor) -> Float32:
    """The same numbers, where they are."""
    array: Float32 = tensor.detach().contiguous().numpy()
    return array
