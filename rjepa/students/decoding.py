"""Decode many chains a problem over one copy of its prompt: caches that know that samples share a prefix.

`K` samples of a problem read the same prompt. Its keys and values are kept once and attended to by all K in one matrix
product; only what each sample wrote itself is kept per sample. With tiny-a on the CPU that is about twice as fast as
repeating the cache, which then also holds the prompt K times (benchmarks/sampling.py). Architectures whose attention is
more than a plain softmax over the whole context take transformers' own cache instead.

Legend: problems P, samples a problem K, rows R = P * K, heads N, key heads M, prompt tokens T, head size D.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from rjepa.students.packing import Packed, packed_attention

FAST_ATTENTION = "rjepa_shared_prefix"

_PLAIN_SOFTMAX = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_GROWTH = 32
"""Token slots a cache gains when it is full: few copies, little held that is not used."""


class Decoder(Protocol):
    """Feeds tokens to a model and keeps its cache."""

    def prefill(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Logits [P, vocabulary] after left-padded prompts int64 [P, T], bool mask [P, T]."""

    def step(self, tokens: Tensor) -> Tensor:
        """Logits [R, vocabulary] after one more token int64 [R] a row. Rows are problem-major."""

    def keep(self, problems: Tensor) -> None:
        """Go on with these problems (int64 [kept]) only, all their samples."""


def can_share_prefix(config: Any) -> bool:
    """Whether a text model's attention is plain causal softmax in every layer."""
    layer_types = getattr(config, "layer_types", None) or ["full_attention"]
    sliding = getattr(config, "sliding_window", None) if config.model_type == "mistral" else None
    return config.model_type in _PLAIN_SOFTMAX and set(layer_types) == {"full_attention"} and sliding is None


def make_decoder(model: PreTrainedModel, samples: int, shares_prefix: bool) -> Decoder:
    """The decoder that suits a model. `shares_prefix` wants it loaded with `FAST_ATTENTION`."""
    return SharedPrefixDecoder(model, samples) if shares_prefix else RepeatedCacheDecoder(model, samples)


class _SharedPrefixLayer(CacheLayerMixin):
    """One layer's keys [P, M, D, T] and values [P, M, T, D] of the prompts, once, and [R, M, D, slots] and
    [R, M, slots, D] of the samples' own tokens: a product of few rows reads keys faster the way they lie here.
    """

    def __init__(self, keys: Tensor, values: Tensor, samples: int) -> None:
        super().__init__()
        self.prefix_keys = keys.transpose(2, 3).contiguous()
        self.prefix_values = values.contiguous()
        problems, heads, _, size = keys.shape
        self.own_keys = keys.new_empty(problems * samples, heads, size, _GROWTH)
        self.own_values = values.new_empty(problems * samples, heads, _GROWTH, size)
        self.used = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        pass

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if self.used == self.own_keys.shape[3]:
            self.own_keys = torch.cat([self.own_keys, torch.empty_like(self.own_keys[..., :_GROWTH])], dim=3)
            self.own_values = torch.cat([self.own_values, torch.empty_like(self.own_values[:, :, :_GROWTH])], dim=2)
        self.own_keys[..., self.used : self.used + 1] = key_states.transpose(2, 3)
        self.own_values[:, :, self.used : self.used + 1] = value_states
        self.used += 1
        return self.own_keys[..., : self.used], self.own_values[:, :, : self.used]

    def keep(self, problems: Tensor, rows: Tensor) -> None:
        self.prefix_keys = self.prefix_keys[problems]
        self.prefix_values = self.prefix_values[problems]
        self.own_keys = self.own_keys[rows]
        self.own_values = self.own_values[rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return self.prefix_keys.shape[3] + self.used

    def get_max_length(self) -> int:
        return -1


class SharedPrefixDecoder:
    """Keeps a prompt once for all its samples."""

    def __init__(self, model: PreTrainedModel, samples: int) -> None:
        self._model = model
        self._samples = samples

    def prefill(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        cache = DynamicCache(config=self._model.config)
        positions = _positions(mask)
        output = self._model(
            input_ids=input_ids,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=cache,
            logits_to_keep=1,
        )
        self._cache = Cache(layers=[_SharedPrefixLayer(la.keys, la.values, self._samples) for la in cache.layers])
        self._next = (positions[:, -1:] + 1).repeat_interleave(self._samples, dim=0)
        masked = torch.zeros(mask.shape, dtype=output.logits.dtype, device=mask.device)
        self._bias = masked.masked_fill_(~mask, torch.finfo(masked.dtype).min)[:, None, None]
        return output.logits[:, -1]

    def step(self, tokens: Tensor) -> Tensor:
        logits = self._model(
            input_ids=tokens[:, None],
            attention_mask=self._bias,
            position_ids=self._next,
            past_key_values=self._cache,
            shared_prefix=self._cache,
        ).logits
        self._next = self._next + 1
        return logits[:, -1]

    def keep(self, problems: Tensor) -> None:
        rows = _rows(problems, self._samples)
        for layer in self._cache.layers:
            layer.keep(problems, rows)
        self._next = self._next[rows]
        self._bias = self._bias[problems]


class RepeatedCacheDecoder:
    """Repeats transformers' own cache once a sample: works for every architecture that has one."""

    def __init__(self, model: PreTrainedModel, samples: int) -> None:
        self._model = model
        self._samples = samples

    def prefill(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        self._cache = DynamicCache(config=self._model.config)
        positions = _positions(mask)
        output = self._model(
            input_ids=input_ids,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache.batch_repeat_interleave(self._samples)
        self._next = (positions[:, -1:] + 1).repeat_interleave(self._samples, dim=0)
        self._mask = mask.long().repeat_interleave(self._samples, dim=0)
        return output.logits[:, -1]

    def step(self, tokens: Tensor) -> Tensor:
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
        logits = self._model(
            input_ids=tokens[:, None],
            attention_mask=self._mask,
            position_ids=self._next,
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        self._next = self._next + 1
        return logits[:, -1]

    def keep(self, problems: Tensor) -> None:
        rows = _rows(problems, self._samples)
        self._cache.batch_select_indices(rows)
        self._next = self._next[rows]
        self._mask = self._mask[rows]


def _positions(mask: Tensor) -> Tensor:
    return (mask.long().cumsum(-1) - 1).clamp_(min=0)


def _rows(problems: Tensor, samples: int) -> Tensor:
    return (problems[:, None] * samples + torch.arange(samples, device=problems.device)).flatten()


def _shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    shared_prefix: Cache | None = None,
    packed: Packed | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one new token a row over its problem's prompt and its own tokens. query [R, N, 1, D]; key
    [R, M, D, own] and value [R, M, own, D] are the cache's; attention_mask [P, 1, 1, T] is added to the prompt's
    scores. Without a shared prefix: that of packed sequences, or SDPA, with keys [R, M, tokens, D].
    """
    if packed is not None:
        return packed_attention(query, key, value, packed, scaling), None
    if shared_prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    layer = shared_prefix.layers[module.layer_idx]
    problems, heads, size, prompt = layer.prefix_keys.shape
    rows, all_heads = query.shape[:2]
    samples, group, own = rows // problems, all_heads // heads, key.shape[3]
    query = (query * scaling).view(rows, heads, group, size)
    by_problem = query.view(problems, samples, heads, group, size).transpose(1, 2)
    prompt_scores = torch.matmul(by_problem.reshape(problems, heads, samples * group, size), layer.prefix_keys)
    prompt_scores += attention_mask
    own_scores = torch.matmul(query, key).view(problems, samples, heads, group, own)
    own_scores = own_scores.transpose(1, 2).reshape(problems, heads, samples * group, own)
    weights = torch.cat([prompt_scores, own_scores], dim=-1).softmax(dim=-1)
    output = torch.matmul(weights[..., :prompt], layer.prefix_values)
    output = output.view(problems, heads, samples, group, size).transpose(1, 2).reshape(rows, heads, group, size)
    own_weights = weights[..., prompt:].view(problems, heads, samples, group, own).transpose(1, 2)
    output += torch.matmul(own_weights.reshape(rows, heads, group, own), value)
    return output.reshape(rows, 1, all_heads, size), None


AttentionInterface.register(FAST_ATTENTION, _shared_prefix_attention)
AttentionMaskInterface.register(FAST_ATTENTION, sdpa_mask)
