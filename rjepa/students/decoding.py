"""Caches of many rows that are decoded together, over one copy of each prompt where samples share one.

`K` samples of a problem read the same prompt. Its keys and values are kept once and attended to by all K in one matrix
product; only what each row wrote itself is kept per row. With tiny-a on the CPU that is about twice as fast as to
repeat the cache, which then also holds the prompt K times (benchmarks/sampling.py). Architectures whose attention is
more than a plain softmax over the whole context take transformers' own cache instead: `rjepa.students.row_cache`.

Rows may begin at different times: what a row wrote lies at the right of its slots, and what is free at their left is
masked. Keys carry their positions, so that their place in a cache says nothing. Which token is fed, and when, belongs
to `rjepa.students.session`.

Legend: prompts P, rows a prompt K, rows R, heads N, key heads M, prompt tokens T, head size D.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from rjepa.students.fused import Decoder, Drawing, DrawingDecoder, Float32
from rjepa.students.packing import Packed, packed_attention
from rjepa.students.tap import LayerTap

FAST_ATTENTION: Final = "rjepa_shared_prefix"

Int64 = npt.NDArray[np.int64]

Fused = tuple[Decoder, int]
"""A decoder, and how many layers lie below the states that are read."""

_PLAIN_SOFTMAX: Final = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_GROWTH: Final = 32
"""Token slots a cache gains when it is full: few copies, little held that is not used."""


@runtime_checkable
class CachedRows(Protocol):
    """The caches of R rows of a batch, and what feeds one more token to each."""

    prompt_of: Int64
    """The prompt of each row, by number."""
    can_cut: bool
    """Whether tokens can be taken back, and batches be joined."""
    can_draw: bool
    """Whether `draw` may be called."""

    @property
    def samples(self) -> int | None:
        """K where each prompt has as many rows, one prompt's after another's; else None."""

    def step(self, tokens: Int[Tensor, " rows"], tap: LayerTap) -> Float[Tensor, "rows vocab"]:
        """The logits after one more token a row. `tap` sees the states of the layer that is read."""

    def draw(self, most: int, least: int, logits: Float[Tensor, "rows vocab"], drawing: Drawing) -> int:
        """Draw up to `most` tokens a row, one after another, and feed each but the last; end with the first that may
        end something, but not before `least` tokens. `logits`, which the first is drawn from, become those of the last.
        Gives how many were drawn.
        """

    def keep(self, rows: Int64) -> None:
        """Go on with these rows only, in this order. What the others held is freed layer by layer."""

    def rearranged(self, rows: Int64, cut: Int64) -> "CachedRows":
        """A batch of these rows, in this order, a row more than once if wanted, without their newest `cut` tokens."""


def can_share_prefix(config: Any) -> bool:
    """Whether a text model's attention is plain causal softmax in every layer."""
    layer_types = getattr(config, "layer_types", None) or ["full_attention"]
    sliding = getattr(config, "sliding_window", None) if config.model_type == "mistral" else None
    return config.model_type in _PLAIN_SOFTMAX and set(layer_types) == {"full_attention"} and sliding is None


class _SharedPrefixLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's keys [P, M, D, T] and values [P, M, T, D] of the prompts, once, and [R, M, D, slots] and
    [R, M, slots, D] of the rows' own tokens: a product of few rows reads keys faster the way they lie here.
    """

    def __init__(
        self, prefix_keys: Tensor, prefix_values: Tensor, own_keys: Tensor, own_values: Tensor, used: int
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.prefix_keys, self.prefix_values = prefix_keys, prefix_values
        self.own_keys, self.own_values, self.used = own_keys, own_values, used
        self._arrays: tuple[Float32, Float32, Float32, Float32] | None = None

    @classmethod
    def after(cls, keys: Tensor, values: Tensor, rows: int) -> "_SharedPrefixLayer":
        """The layer of `rows` rows that have written nothing; keys and values [P, M, T, D] of their prompts."""
        _, heads, _, size = keys.shape
        own_keys = keys.new_empty(rows, heads, size, _GROWTH)
        own_values = values.new_empty(rows, heads, _GROWTH, size)
        return cls(keys.transpose(2, 3).contiguous(), values.contiguous(), own_keys, own_values, 0)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        pass

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return self.extend(key_states[:, :, 0], value_states[:, :, 0])

    def grow(self, tokens: int = 1) -> None:
        """Have room for so many more tokens, at most `_GROWTH`."""
        if self.used + tokens > self.own_keys.shape[3]:
            self.own_keys = torch.cat([self.own_keys, torch.empty_like(self.own_keys[..., :_GROWTH])], dim=3)
            self.own_values = torch.cat([self.own_values, torch.empty_like(self.own_values[:, :, :_GROWTH])], dim=2)
            self._arrays = None

    def arrays(self, tokens: int = 1) -> tuple[Float32, Float32, Float32, Float32]:
        """As `rjepa.students.fused.LayerCache.arrays`."""
        self.grow(tokens)
        if self._arrays is None:
            prefix = self.prefix_keys.numpy(), self.prefix_values.numpy()
            self._arrays = *prefix, self.own_keys.numpy(), self.own_values.numpy()
        return self._arrays

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """The rows' own keys and values with those of one more token, each [R, M, D]."""
        self.grow()
        used = self.used
        self.own_keys[..., used] = keys
        self.own_values[:, :, used] = values
        self.used = used = used + 1
        return self.own_keys[..., :used], self.own_values[:, :, :used]

    def keep(self, prompts: Tensor, rows: Tensor) -> None:
        self._arrays = None
        self.prefix_keys = self.prefix_keys[prompts]
        self.prefix_values = self.prefix_values[prompts]
        self.own_keys = self.own_keys[rows]
        self.own_values = self.own_values[rows]

    def moved(self, prompts: Tensor, rows: Tensor, slots: Int[Tensor, "rows used"]) -> "_SharedPrefixLayer":
        """These rows over these prompts; slot j of a row's own tokens is what lay in `slots[row, j]`."""
        used = slots.shape[1]
        room = -(-max(used, 1) // _GROWTH) * _GROWTH
        heads, size = self.own_keys.shape[1:3]
        own_keys = self.own_keys.new_empty(len(rows), heads, size, room)
        own_values = self.own_values.new_empty(len(rows), heads, room, size)
        if used:
            own_keys[..., :used] = self.own_keys[rows].gather(3, slots[:, None, None].expand(-1, heads, size, -1))
            wanted = slots[:, None, :, None].expand(-1, heads, -1, size)
            own_values[:, :, :used] = self.own_values[rows].gather(2, wanted)
        return _SharedPrefixLayer(self.prefix_keys[prompts], self.prefix_values[prompts], own_keys, own_values, used)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return int(self.prefix_keys.shape[3]) + self.used

    def get_max_length(self) -> int:
        return -1


class SharedPrefixRows:
    """Rows that keep their prompt once."""

    can_cut = True

    def __init__(
        self,
        model: PreTrainedModel,
        layers: list[_SharedPrefixLayer],
        bias: Float[Tensor, "prompts 1 1 tokens"],
        positions: Int[Tensor, "rows 1"],
        prompt_of: Int64,
        free: Int64,
        fused: "Fused | None" = None,
    ) -> None:
        """bias: added to the prompts' scores. positions: of each row's next token. free: of each row's own slots, how
        many at the left hold nothing of it. fused: takes the place of the model's forward for single tokens.
        """
        self.prompt_of, self._fused = prompt_of, fused
        self.can_draw = fused is not None and isinstance(fused[0], DrawingDecoder)
        self._model, self._layers, self._bias, self._next, self.free = model, layers, bias, positions, free
        self._arrange()

    def _arrange(self) -> None:
        self._cache = Cache(layers=list(self._layers))
        prompts, rows = len(self._bias), len(self.prompt_of)
        counts = np.bincount(self.prompt_of, minlength=prompts)
        regular = rows == prompts * counts[0] and np.array_equal(self.prompt_of, np.arange(rows) // counts[0])
        self.columns = int(counts.max())
        self.places = None if regular else torch.from_numpy(_places(self.prompt_of, self.columns)).to(self._bias.device)
        self.own_bias: Tensor | None = None  # made when it is first needed, a slot longer with each token
        self.starts, self.ends = self._spans()

    def _spans(self) -> tuple[Int64, Int64]:
        """Where each prompt's tokens begin and end among its places."""
        held = (self._bias[:, 0, 0] == 0).cpu().numpy()
        return held.argmax(axis=1), held.shape[1] - held[:, ::-1].argmax(axis=1)

    @classmethod
    def read(
        cls,
        model: PreTrainedModel,
        input_ids: Int[Tensor, "prompts tokens"],
        mask: Bool[Tensor, "prompts tokens"],
        prompt_of: Int64,
        logits_to_keep: int,
        fused: "Fused | None" = None,
    ) -> "tuple[SharedPrefixRows, Float[Tensor, 'prompts kept vocab']]":
        """Rows after their left-padded prompts, and the logits of the prompts' last tokens."""
        cache = DynamicCache(config=model.config)
        positions = positions_of(mask)
        # By place: a slice of the states lies apart in memory, for which PyTorch copies the whole head another way.
        kept = torch.arange(max(0, input_ids.shape[1] - logits_to_keep), input_ids.shape[1], device=mask.device)
        output = model(
            input_ids=input_ids,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=cache,
            logits_to_keep=kept,
        )
        layers = [_SharedPrefixLayer.after(*keys_and_values(layer), len(prompt_of)) for layer in cache.layers]
        masked = torch.zeros(mask.shape, dtype=output.logits.dtype, device=mask.device)
        bias = masked.masked_fill_(~mask, torch.finfo(masked.dtype).min)[:, None, None]
        following = (positions[:, -1:] + 1)[torch.from_numpy(prompt_of).to(mask.device)]
        free = np.zeros(len(prompt_of), dtype=np.int64)
        return cls(model, layers, bias, following, prompt_of, free, fused), output.logits

    @property
    def samples(self) -> int | None:
        return self.columns if self.places is None else None

    @property
    def layers(self) -> list[_SharedPrefixLayer]:
        return self._layers

    def step(self, tokens: Int[Tensor, " rows"], tap: LayerTap) -> Float[Tensor, "rows vocab"]:
        if self._fused is not None:
            decoder, depth = self._fused
            found = decoder.step(tokens, self, depth, tap.see)
            self._next = self._next + 1
            return found
        self._mask_own()
        logits: Tensor = self._model(
            input_ids=tokens[:, None],
            attention_mask=self._bias,
            position_ids=self._next,
            past_key_values=self._cache,
            shared_prefix=self,
        ).logits
        self._next = self._next + 1
        return logits[:, -1]

    def draw(self, most: int, least: int, logits: Float[Tensor, "rows vocab"], drawing: Drawing) -> int:
        assert self._fused is not None
        decoder, depth = self._fused
        assert isinstance(decoder, DrawingDecoder)
        drawn = decoder.draw(min(most, _GROWTH), least, logits, drawing, self, depth)
        self._next = self._next + (drawn - 1)
        return drawn

    @property
    def positions(self) -> Int[Tensor, " rows"]:
        """The position of each row's next token."""
        return self._next[:, 0]

    @property
    def longest(self) -> int:
        """A bound: all positions of the next tokens are below it."""
        return int(self._bias.shape[-1]) + self._layers[0].used + 1

    def attend(self, number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """As `rjepa.students.fused.Caches.attend`."""
        if number == 0:
            self._mask_own()
        layer = self._layers[number]
        return self.attention(layer, query, *layer.extend(key, value), self._bias).flatten(1)

    def attention(
        self, layer: _SharedPrefixLayer, query: Tensor, key: Tensor, value: Tensor, bias: Tensor
    ) -> Float[Tensor, "rows heads group size"]:
        """Attention of scaled queries [R, M, N / M, D] over prompts and the rows' own keys [R, M, D, own] and
        values.
        """
        group, prompt = query.shape[2], layer.prefix_keys.shape[3]
        prompt_scores = torch.matmul(self.by_prompt(query), layer.prefix_keys)
        prompt_scores += bias
        own_scores = torch.matmul(query, key)
        if self.own_bias is not None:
            own_scores += self.own_bias
        weights = torch.cat([prompt_scores, self.by_prompt(own_scores)], dim=-1).softmax(dim=-1)
        output = self.by_row(torch.matmul(weights[..., :prompt], layer.prefix_values), group)
        return output + torch.matmul(self.by_row(weights[..., prompt:], group), value)

    def _mask_own(self) -> None:
        if self.free.any():
            self.own_bias = self._own_bias()

    def _own_bias(self) -> Tensor:
        """[R, 1, 1, own]: the lowest number where a slot holds nothing of its row, the next token's slot included."""
        if self.own_bias is not None:
            return torch.nn.functional.pad(self.own_bias, (0, 1))
        held = np.arange(self._layers[0].used + 1) >= self.free[:, None]
        bias = torch.zeros(held.shape, dtype=self._bias.dtype, device=self._bias.device)
        lowest = torch.finfo(bias.dtype).min
        return bias.masked_fill_(~torch.from_numpy(held).to(bias.device), lowest)[:, None, None]

    def keep(self, rows: Int64) -> None:
        prompts, self.prompt_of = np.unique(self.prompt_of[rows], return_inverse=True)
        chosen, read = self._index(rows), self._index(prompts)
        for layer in self._layers:
            layer.keep(read, chosen)
        self._next, self._bias, self.free = self._next[chosen], self._bias[read], self.free[rows]
        self._arrange()

    def rearranged(self, rows: Int64, cut: Int64) -> "SharedPrefixRows":
        used = self._layers[0].used
        length = used - self.free[rows] - cut
        into = np.maximum(-length, 0)  # a cut that goes on into the prompt
        length = np.maximum(length, 0)
        width = int(length.max(initial=0))
        slots = np.arange(width) - (width - length)[:, None] + self.free[rows][:, None]
        widest = self._bias.shape[-1] + 1
        keys, prompt_of = np.unique(self.prompt_of[rows] * widest + into, return_inverse=True)
        prompts, shortened = keys // widest, keys % widest
        read, chosen = self._index(prompts), self._index(rows)
        places = self._index(np.clip(slots, 0, max(used - 1, 0)))
        layers = [layer.moved(read, chosen, places) for layer in self._layers]
        bias = self._bias[read]
        for prompt in np.flatnonzero(shortened):
            bias[prompt, ..., -int(shortened[prompt]) :] = torch.finfo(bias.dtype).min
        following = self._next[chosen] - self._index(cut)[:, None]
        return SharedPrefixRows(self._model, layers, bias, following, prompt_of, width - length, self._fused)

    @classmethod
    def joined(cls, batches: "Sequence[SharedPrefixRows]") -> "SharedPrefixRows":
        """All rows of these batches of one model as one batch."""
        tokens = max(batch._bias.shape[-1] for batch in batches)
        used = max(batch._layers[0].used for batch in batches)
        room = -(-max(used, 1) // _GROWTH) * _GROWTH
        layers = []
        for parts in zip(*(batch._layers for batch in batches), strict=True):
            prefix_keys = torch.cat([_at_the_right(la.prefix_keys, 3, tokens) for la in parts])
            prefix_values = torch.cat([_at_the_right(la.prefix_values, 2, tokens) for la in parts])
            own_keys = torch.cat([_at_the_right(la.own_keys[..., : la.used], 3, used) for la in parts])
            own_values = torch.cat([_at_the_right(la.own_values[:, :, : la.used], 2, used) for la in parts])
            own_keys = torch.nn.functional.pad(own_keys, (0, room - used))
            own_values = torch.nn.functional.pad(own_values, (0, 0, 0, room - used))
            layers.append(_SharedPrefixLayer(prefix_keys, prefix_values, own_keys, own_values, used))
        lowest = torch.finfo(batches[0]._bias.dtype).min
        firsts = np.cumsum([0, *(len(batch._bias) for batch in batches[:-1])])
        return cls(
            batches[0]._model,
            layers,
            torch.cat([_at_the_right(batch._bias, 3, tokens, lowest) for batch in batches]),
            torch.cat([batch._next for batch in batches]),
            np.concatenate([batch.prompt_of + first for batch, first in zip(batches, firsts, strict=True)]),
            np.concatenate([batch.free + used - batch._layers[0].used for batch in batches]),
            batches[0]._fused,
        )

    def by_prompt(self, states: Float[Tensor, "rows heads group last"]) -> Float[Tensor, "prompts heads queries last"]:
        """The rows of each prompt side by side; places that no row has hold zeros."""
        prompts, columns = len(self._bias), self.columns
        if columns == 1 and self.places is None:
            return states
        if self.places is not None:
            padded = states.new_zeros(prompts * columns, *states.shape[1:])
            padded[self.places] = states
            states = padded
        _, heads, group, last = states.shape
        states = states.view(prompts, columns, heads, group, last).transpose(1, 2)
        return states.reshape(prompts, heads, columns * group, last)

    def by_row(
        self, states: Float[Tensor, "prompts heads queries last"], group: int
    ) -> Float[Tensor, "rows heads group last"]:
        """What `by_prompt` laid together, row by row again."""
        if self.columns == 1 and self.places is None:
            return states
        prompts, heads, _, last = states.shape
        rows = states.view(prompts, heads, self.columns, group, last).transpose(1, 2)
        rows = rows.reshape(prompts * self.columns, heads, group, last)
        return rows if self.places is None else rows[self.places]

    def _index(self, places: Int64) -> Tensor:
        return torch.from_numpy(places).to(self._bias.device)


def keys_and_values(layer: Any) -> tuple[Tensor, Tensor]:
    """What a layer of transformers' cache for attention holds, each [rows, M, tokens, D]."""
    return layer.keys, layer.values


def positions_of(mask: Bool[Tensor, "prompts tokens"]) -> Int[Tensor, "prompts tokens"]:
    """The position of every token of left-padded prompts."""
    return (mask.long().cumsum(-1) - 1).clamp_(min=0)


def _places(prompt_of: Int64, columns: int) -> Int64:
    """Where each row lies in a table of `columns` rows a prompt."""
    order = np.argsort(prompt_of, kind="stable")
    counts = np.bincount(prompt_of)
    rank = np.empty(len(prompt_of), dtype=np.int64)
    rank[order] = np.arange(len(prompt_of)) - np.repeat(np.cumsum(counts) - counts, counts)
    return prompt_of * columns + rank


def _at_the_right(states: Tensor, dim: int, length: int, value: float = 0.0) -> Tensor:
    """States padded on the left of `dim` to `length`."""
    missing = length - states.shape[dim]
    padding = [0, 0] * (states.ndim - 1 - dim) + [missing, 0]
    return torch.nn.functional.pad(states, padding, value=value) if missing else states


def _shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    shared_prefix: SharedPrefixRows | None = None,
    packed: Packed | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one new token a row over its prompt and its own tokens. query [R, N, 1, D]; key [R, M, D, own] and
    value [R, M, own, D] are the cache's; attention_mask [P, 1, 1, T] is added to the prompts' scores. Without a shared
    prefix: that of packed sequences, or SDPA, with keys [R, M, tokens, D].
    """
    if packed is not None:
        return packed_attention(query, key, value, packed, scaling), None
    if shared_prefix is None:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return found
    layer = shared_prefix.layers[int(module.layer_idx)]  # type: ignore[arg-type]
    heads, size = layer.prefix_keys.shape[1:3]
    rows, all_heads = query.shape[:2]
    assert scaling is not None and attention_mask is not None
    query = (query * scaling).view(rows, heads, all_heads // heads, size)
    output = shared_prefix.attention(layer, query, key, value, attention_mask)
    return output.reshape(rows, 1, all_heads, size), None


AttentionInterface.register(FAST_ATTENTION, _shared_prefix_attention)
AttentionMaskInterface.register(FAST_ATTENTION, sdpa_mask)
