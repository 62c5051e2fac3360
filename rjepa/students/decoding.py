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
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from rjepa.arrays import Int64
from rjepa.students.forward_cache import positions_of, read_by_forward
from rjepa.students.fused import Decoder, Drawing, DrawingDecoder, ReadingDecoder
from rjepa.students.layer_cache import SharedPrefixLayer
from rjepa.students.packing import Packed, packed_attention
from rjepa.students.tap import LayerTap

FAST_ATTENTION: Final = "rjepa_shared_prefix"


Fused = tuple[Decoder, int]
"""A decoder, and how many layers lie below the states that are read."""

_PLAIN_SOFTMAX: Final = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_LEAST_ROOM: Final = 16
"""Tokens that caches have room for at least before several are drawn; where there is room for more, as many are."""


@runtime_checkable
class CachedRows(Protocol):
    """The caches of R rows of a batch, and what feeds one more token to each."""

    prompt_of: Int64
    """The prompt of each row, by number."""
    can_cut: bool
    """Whether tokens can be taken back, and batches be joined."""

    @property
    def can_draw(self) -> bool:
        """Whether `draw` may be called."""

    @property
    def samples(self) -> int | None:
        """K where each prompt has as many rows, one prompt's after another's; else None."""

    def step(self, tokens: Int[Tensor, " rows"], tap: LayerTap) -> Float[Tensor, "rows vocab"]:
        """The logits after one more token a row. `tap` sees the states of the layer that is read."""

    def draw(self, most: int, least: int, logits: Float[Tensor, "rows vocab"], drawing: Drawing) -> int:
        """Draw up to `most` tokens a row, one after another, and feed each; end with the first that may end something,
        but not before `least` tokens. `logits`, which the first is drawn from, become those after the last. Gives how
        many were drawn.
        """

    def seat(self, other: "CachedRows", gone: Int64) -> bool:
        """Overwrite rows that have ended with the rows of another batch.

        Args:
            other: the batch whose rows move in; all of them do, or none.
            gone: positions of the rows that have ended, ascending. As many as `other` has are overwritten, from the
                first one on.

        Returns:
            Whether there was room. If not, nothing has changed, and the caller joins the two batches instead.
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


class SharedPrefixRows:
    """Rows that keep their prompt once."""

    can_cut = True

    def __init__(
        self,
        model: PreTrainedModel,
        layers: list[SharedPrefixLayer],
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
        tap: LayerTap,
        fused: "Fused | None" = None,
    ) -> "tuple[SharedPrefixRows, Float[Tensor, 'prompts kept vocab']]":
        """Rows after their left-padded prompts, and the logits of the prompts' last tokens. `tap`, which is entered,
        sees the states of the layer that is read.
        """
        positions = positions_of(mask)
        kept = min(logits_to_keep, input_ids.shape[1])
        if fused is not None and isinstance(fused[0], ReadingDecoder) and fused[0].reads(int(mask.sum())):
            pairs, logits = fused[0].read(input_ids, mask, kept, fused[1], tap.see_prompts)
        else:
            pairs, logits = read_by_forward(model, input_ids, mask, kept)
        layers = [SharedPrefixLayer.after(*pair, len(prompt_of)) for pair in pairs]
        masked = torch.zeros(mask.shape, dtype=logits.dtype, device=mask.device)
        bias = masked.masked_fill_(~mask, torch.finfo(masked.dtype).min)[:, None, None]
        following = (positions[:, -1:] + 1)[torch.from_numpy(prompt_of).to(mask.device)]
        free = np.zeros(len(prompt_of), dtype=np.int64)
        return cls(model, layers, bias, following, prompt_of, free, fused), logits

    @property
    def samples(self) -> int | None:
        return self.columns if self.places is None else None

    @property
    def can_draw(self) -> bool:
        decoder = None if self._fused is None else self._fused[0]
        return isinstance(decoder, DrawingDecoder) and decoder.draws(len(self.prompt_of))

    @property
    def layers(self) -> list[SharedPrefixLayer]:
        return self._layers

    def step(self, tokens: Int[Tensor, " rows"], tap: LayerTap) -> Float[Tensor, "rows vocab"]:
        self._make_room(1)
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
        self._make_room(min(most, _LEAST_ROOM))
        most = min(most, self._layers[0].slots - self._layers[0].used)
        drawn = decoder.draw(most, least, logits, drawing, self, depth)
        self._next = self._next + drawn
        return drawn

    def _make_room(self, tokens: int) -> None:
        """Have room for so many more tokens of each row; what no row of the batch needs any more goes first."""
        first = self._layers[0]
        if first.used + tokens <= first.slots:
            return
        unused = int(self.free.min())
        for layer in self._layers:
            layer.make_room(tokens, unused)
        self.free = self.free - unused
        self.own_bias = None

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
        self, layer: SharedPrefixLayer, query: Tensor, key: Tensor, value: Tensor, bias: Tensor
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

    def seat(self, other: CachedRows, gone: Int64) -> bool:
        assert isinstance(other, SharedPrefixRows)
        prompts = np.setdiff1d(self.prompt_of[gone], np.delete(self.prompt_of, gone))  # which no other row reads
        tokens, used, its = self._bias.shape[3], self._layers[0].used, other._layers[0].used
        many = len(other.prompt_of) > len(gone) or len(other._bias) > len(prompts)
        if many or other._bias.shape[3] > tokens or its > used:
            return False
        rows, prompts = gone[: len(other.prompt_of)], prompts[: len(other._bias)]
        chosen, read = self._index(rows), self._index(prompts)
        for layer, newer in zip(self._layers, other._layers, strict=True):
            layer.seat(newer, read, chosen)
        self.prompt_of[rows], self.free[rows] = prompts[other.prompt_of], other.free + used - its
        self._next[chosen], self._bias[read] = other._next, _widened(other._bias, tokens)
        self._arrange()
        return True

    @classmethod
    def joined(cls, batches: "Sequence[SharedPrefixRows]") -> "SharedPrefixRows":
        """All rows of these batches of one model as one batch."""
        tokens = max(batch._bias.shape[-1] for batch in batches)
        layers = [SharedPrefixLayer.joined(parts) for parts in zip(*(batch._layers for batch in batches), strict=True)]
        used = layers[0].used
        firsts = np.cumsum([0, *(len(batch._bias) for batch in batches[:-1])])
        return cls(
            batches[0]._model,
            layers,
            torch.cat([_widened(batch._bias, tokens) for batch in batches]),
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


def _places(prompt_of: Int64, columns: int) -> Int64:
    """Where each row lies in a table of `columns` rows a prompt."""
    order = np.argsort(prompt_of, kind="stable")
    counts = np.bincount(prompt_of)
    rank = np.empty(len(prompt_of), dtype=np.int64)
    rank[order] = np.arange(len(prompt_of)) - np.repeat(np.cumsum(counts) - counts, counts)
    return prompt_of * columns + rank


def _widened(bias: Float[Tensor, "prompts 1 1 tokens"], tokens: int) -> Float[Tensor, "prompts 1 1 wider"]:
    """The bias of as many prompts with so many places, those at the left masked."""
    return torch.nn.functional.pad(bias, (tokens - bias.shape[3], 0), value=torch.finfo(bias.dtype).min)


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
