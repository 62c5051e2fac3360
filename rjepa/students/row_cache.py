"""Rows in transformers' own cache, for every architecture that has one: the prompt is repeated once a row.

Attention over a window, and state that is no attention at all, forgets what lies behind it: tokens of such a cache
cannot be taken back. How rows share a prompt where attention is plain is `rjepa.students.decoding`.

Legend: rows R, slots S.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from rjepa.arrays import Int64
from rjepa.students.decoding import CachedRows, Fused, SharedPrefixRows
from rjepa.students.forward_cache import keys_and_values, positions_of
from rjepa.students.fused import Drawing
from rjepa.students.tap import LayerTap


class RepeatedRows:
    """Rows that each hold their whole context."""

    can_draw = False

    def __init__(
        self,
        model: PreTrainedModel,
        cache: Cache,
        mask: Int[Tensor, "rows slots"],
        positions: Int[Tensor, "rows 1"],
        prompt_of: Int64,
    ) -> None:
        """mask: 1 where a slot holds a token of its row. positions: of each row's next token."""
        self.prompt_of = prompt_of
        self.can_cut = _can_cut(cache)
        self._model, self._cache, self._mask, self._next = model, cache, mask, positions

    @classmethod
    def read(
        cls,
        model: PreTrainedModel,
        input_ids: Int[Tensor, "prompts tokens"],
        mask: Bool[Tensor, "prompts tokens"],
        prompt_of: Int64,
    ) -> "tuple[RepeatedRows, Float[Tensor, 'prompts tokens vocab']]":
        """Rows after their left-padded prompts, and the logits of all the prompts' tokens."""
        cache = DynamicCache(config=model.config)
        positions = positions_of(mask)
        output = model(
            input_ids=input_ids,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        rows = torch.from_numpy(prompt_of).to(mask.device)
        cache.batch_select_indices(rows)
        return cls(model, cache, mask.long()[rows], (positions[:, -1:] + 1)[rows], prompt_of), output.logits

    @property
    def samples(self) -> int | None:
        rows, prompts = len(self.prompt_of), int(self.prompt_of[-1]) + 1
        each = rows // prompts
        return each if each and np.array_equal(self.prompt_of, np.arange(rows) // each) else None

    def step(self, tokens: Int[Tensor, " rows"], tap: LayerTap) -> Float[Tensor, "rows vocab"]:
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
        logits: Tensor = self._model(
            input_ids=tokens[:, None],
            attention_mask=self._mask,
            position_ids=self._next,
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        self._next = self._next + 1
        return logits[:, -1]

    def draw(self, most: int, least: int, logits: Float[Tensor, "rows vocab"], drawing: Drawing) -> int:
        raise ValueError("expected caches that can draw")

    def seat(self, other: CachedRows, gone: Int64) -> bool:
        return False

    def keep(self, rows: Int64) -> None:
        self.prompt_of = np.unique(self.prompt_of[rows], return_inverse=True)[1]
        chosen = torch.from_numpy(rows).to(self._mask.device)
        self._cache.batch_select_indices(chosen)
        self._next, self._mask = self._next[chosen], self._mask[chosen]

    def rearranged(self, rows: Int64, cut: Int64) -> "RepeatedRows":
        if not cut.any():
            other = RepeatedRows(self._model, copy.deepcopy(self._cache), self._mask, self._next, self.prompt_of)
            other.keep(rows)
            return other
        if not self.can_cut:
            raise ValueError("tokens of this cache cannot be taken back")
        chosen = torch.from_numpy(rows).to(self._mask.device)
        slots = self._mask.shape[1]
        length = np.maximum(self._mask.sum(dim=1).cpu().numpy()[rows] - cut, 0)
        width = max(int(length.max()), 1)
        # Of each row, its own tokens end where `cut` says; they move to the right end of `width` slots.
        wanted = np.arange(width) + (slots - width) - cut[:, None]
        held = np.arange(width) >= (width - length)[:, None]
        places = torch.from_numpy(np.clip(wanted, 0, slots - 1)).to(self._mask.device)
        layers = [
            tuple(
                states[chosen].gather(2, places[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3]))
                for states in keys_and_values(layer)
            )
            for layer in self._cache.layers
        ]
        return RepeatedRows(
            self._model,
            _cache_of(self._model, layers),
            torch.from_numpy(held).to(self._mask),
            self._next[chosen] - torch.from_numpy(cut).to(self._mask.device)[:, None],
            np.unique(self.prompt_of[rows], return_inverse=True)[1],
        )

    @classmethod
    def joined(cls, batches: "Sequence[RepeatedRows]") -> "RepeatedRows":
        """All rows of these batches of one model as one batch."""
        slots = max(batch._mask.shape[1] for batch in batches)
        layers = [
            tuple(
                torch.cat([_with_slots(states, slots) for states in kind])
                for kind in zip(*map(keys_and_values, parts), strict=True)
            )
            for parts in zip(*(batch._cache.layers for batch in batches), strict=True)
        ]
        masks = [torch.nn.functional.pad(batch._mask, (slots - batch._mask.shape[1], 0)) for batch in batches]
        firsts = np.cumsum([0, *(int(batch.prompt_of.max()) + 1 for batch in batches[:-1])])
        return cls(
            batches[0]._model,
            _cache_of(batches[0]._model, layers),
            torch.cat(masks),
            torch.cat([batch._next for batch in batches]),
            np.concatenate([batch.prompt_of + first for batch, first in zip(batches, firsts, strict=True)]),
        )


def read_prompts(
    model: PreTrainedModel,
    shares_prefix: bool,
    fused: Fused | None,
    input_ids: Int[Tensor, "prompts tokens"],
    mask: Bool[Tensor, "prompts tokens"],
    prompt_of: Int64,
    tap: LayerTap,
    logits_to_keep: int = 1,
) -> tuple[CachedRows, Float[Tensor, "prompts kept vocab"]]:
    """Read left-padded prompts for their rows, in the kind of batch that suits the model. `tap` is entered.

    Returns the batch and the logits of at least the last `logits_to_keep` tokens of each prompt. `shares_prefix` wants
    the model loaded with `rjepa.students.decoding.FAST_ATTENTION`.
    """
    if shares_prefix:
        return SharedPrefixRows.read(model, input_ids, mask, prompt_of, logits_to_keep, tap, fused)
    return RepeatedRows.read(model, input_ids, mask, prompt_of)


def join_rows(batches: Sequence[CachedRows]) -> CachedRows:
    """Batches of one model, each of which can be cut, as one."""
    shared = [batch for batch in batches if isinstance(batch, SharedPrefixRows)]
    if shared:
        return SharedPrefixRows.joined(shared)
    return RepeatedRows.joined([batch for batch in batches if isinstance(batch, RepeatedRows)])


def _can_cut(cache: Cache) -> bool:
    return all(type(layer) is DynamicLayer for layer in cache.layers)


def _cache_of(model: PreTrainedModel, layers: Sequence[tuple[Tensor, ...]]) -> Cache:
    cache = DynamicCache(config=model.config)
    for index, (keys, values) in enumerate(layers):
        cache.update(keys, values, index)
    return cache


def _with_slots(states: Tensor, slots: int) -> Tensor:
    return torch.nn.functional.pad(states, (0, 0, slots - states.shape[2], 0))
