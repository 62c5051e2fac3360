"""The sampling loop that decoding sessions replaced, kept word for word: `benchmarks.sampling` compares the two.

One batch of P problems, K samples each, from the prompt to the end; nothing can be forked, edited or cancelled.
"""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from rjepa.arrays import Float16, Float32, Int64
from rjepa.chains import parse_chain
from rjepa.progress import Progress, silent
from rjepa.students.loading import Student
from rjepa.students.noise import uniform_noise
from rjepa.students.packing import Packed, packed_attention
from rjepa.students.pooling import pool_segments, to_float16
from rjepa.students.prompting import encode_statements
from rjepa.students.sampled import GREEDY, SampledChain
from rjepa.students.segmentation import segment_ids, sentence_ids

OLD_ATTENTION: Final = "rjepa_old_shared_prefix"
_GROWTH: Final = 32
_DROP_SHARE: Final = 0.75


def with_old_attention(student: Student) -> Student:
    """The same student, whose model reads the old loop's caches."""
    if not student.shares_prefix:
        return student
    model = copy.deepcopy(student.model)
    model.set_attn_implementation(OLD_ATTENTION)
    return replace(student, model=model, _encoder=[])


def old_sample_indices(
    student: Student,
    statements: Sequence[str],
    samples: Sequence[int],
    *,
    seed: int,
    temperature: float | None = None,
    max_new_tokens: int | None = None,
    capture: bool = True,
    progress: Progress = silent,
) -> list[list[SampledChain]]:
    """The chains with these sample indices for each statement, in order; `GREEDY` is the greedy chain. The prompt is
    read once for all of them. Arguments as in `rjepa.students.generation.sample_chains`.
    """
    temperature = student.record.sampling.temperature if temperature is None else temperature
    limit = student.record.sampling.max_new_tokens if max_new_tokens is None else max_new_tokens
    if not samples or temperature <= 0 or limit < 1:
        raise ValueError(f"expected samples, temperature > 0, limit >= 1; got {samples}, {temperature}, {limit}")
    prompts = encode_statements(student, statements)
    order = sorted(range(len(statements)), key=lambda index: len(prompts[index]))
    per_batch = max(1, student.record.sampling.batch_size // len(samples))
    chains: list[list[SampledChain]] = [[] for _ in statements]
    started, tokens, done = time.monotonic(), 0, 0
    # Batches of equal size: 100 problems where 90 fit are better halved than cut into 90 and 10.
    batches = -(-len(order) // per_batch)
    for number in range(batches):
        batch = order[number * len(order) // batches : (number + 1) * len(order) // batches]
        recorder = _Recorder(
            student,
            [prompts[index] for index in batch],
            uniform_noise(seed, [statements[index] for index in batch], samples, limit),
            len(samples),
            capture,
        )
        for _ in _decode(student, recorder, temperature, samples):
            pass
        for index, sampled in zip(batch, recorder.chains(), strict=True):
            chains[index] = sampled
            tokens += sum(len(chain.token_ids) for chain in sampled)
        done += len(batch)
        progress(done, len(statements), f"{tokens / (time.monotonic() - started):.0f} tokens/s")
    return chains


def _make_decoder(student: Student, samples: int) -> SharedPrefixDecoder | RepeatedCacheDecoder:
    return (SharedPrefixDecoder if student.shares_prefix else RepeatedCacheDecoder)(student.model, samples)


@torch.inference_mode()
def _decode(student: Student, recorder: _Recorder, temperature: float, samples: Sequence[int]) -> Iterator[list[int]]:
    """Run one batch to its end, telling the recorder of every step; yields each step's tokens, a row each."""
    columns = len(samples)
    greedy = torch.tensor([index == GREEDY for index in samples], device=student.device)
    decoder = _make_decoder(student, columns)
    with _Capture(student.captured if recorder.captures else None) as capture:
        logits = decoder.prefill(recorder.input_ids, recorder.mask).repeat_interleave(columns, dim=0)
        if capture.state is not None:
            recorder.record_prompts(capture.state)
        while True:
            tokens, log_probabilities, certainty = _choose(
                logits, recorder.noise_now(), greedy.repeat(len(recorder.problems)), temperature
            )
            chosen = tokens.tolist()
            recorder.record_tokens(chosen, tokens, log_probabilities, certainty)
            yield chosen
            over = recorder.is_over()
            if over and not recorder.awaits_states():
                return
            kept = recorder.drop_finished(_DROP_SHARE)
            if kept is not None:
                tokens = tokens.view(-1, columns)[kept].flatten()
                decoder.keep(kept)
            logits = decoder.step(tokens)
            if capture.state is not None:
                recorder.record_states(capture.state[:, -1])
            if over:
                return


def _choose(logits: Tensor, noise: Tensor, greedy: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one token a row by inverting the cumulative distribution at the row's noise.

    logits [R, V], noise float32 [R] in [0, 1), greedy bool [R]. Returns tokens int64 [R], their log-probabilities at
    temperature 1, and KL(uniform || model) in nats, both float32 [R].
    """
    logits = logits.float()
    cumulative = (logits / temperature).softmax(dim=-1).cumsum(dim=-1)
    drawn = torch.searchsorted(cumulative, (noise * cumulative[:, -1])[:, None], right=True).squeeze(1)
    tokens = torch.where(greedy, logits.argmax(dim=-1), drawn.clamp_(max=logits.shape[-1] - 1))
    normaliser = logits.logsumexp(dim=-1)
    log_probabilities = logits.gather(1, tokens[:, None]).squeeze(1) - normaliser
    certainty = normaliser - logits.mean(dim=-1) - math.log(logits.shape[-1])
    return tokens, log_probabilities, certainty


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


AttentionInterface.register(OLD_ATTENTION, _shared_prefix_attention)
AttentionMaskInterface.register(OLD_ATTENTION, sdpa_mask)


class _Capture:
    """A forward hook that keeps a module's newest output: `state` is [rows, tokens, H]. Nothing to hook: does nothing.

    Only forwards of the thread that entered it count, so that a student may be used by several threads.
    """

    def __init__(self, module: nn.Module | None) -> None:
        self._module = module
        self.state: Tensor | None = None

    def __enter__(self) -> _Capture:
        if self._module is not None:
            self._thread = threading.get_ident()
            self._handle = self._module.register_forward_hook(self._keep)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._module is not None:
            self._handle.remove()

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if threading.get_ident() == self._thread:
            self.state = output[0] if isinstance(output, tuple) else output


class _Recorder:
    """One batch: its left-padded prompts, and everything sampled after them.

    input_ids int64 [P, T] and mask bool [P, T]; `problems` are the original indices of those still in the batch. A row
    has ended when it gave an end-of-sequence token or closed its answer line; its last token is still fed once, so
    that its state is known, before its problem leaves the batch.
    """

    def __init__(self, student: Student, prompts: list[list[int]], noise: Float32, samples: int, capture: bool) -> None:
        longest = max(len(prompt) for prompt in prompts)
        rows = len(prompts) * samples
        self.captures = capture
        self.problems = np.arange(len(prompts))
        self._student = student
        self._prompts = prompts
        self._samples = samples
        self._limit = min(noise.shape[1], student.context_length - longest)
        self._noise = torch.from_numpy(noise).to(student.device)
        self._slots = torch.arange(rows, device=student.device)
        self._step = 0
        self._ids = np.zeros((rows, self._limit), dtype=np.int64)
        self._scores = torch.zeros(2, rows, self._limit, device=student.device)
        self._lengths = np.full(rows, self._limit)
        self._ended = np.zeros(rows, dtype=bool)
        self._line_starts = np.zeros(rows, dtype=np.int64)
        self._stops = np.zeros(len(student.pieces.pieces), dtype=bool) | student.pieces.has_newline
        self._stops[list(student.eos_ids)] = True
        self.input_ids = torch.full((len(prompts), longest), student.pad_id)
        self.mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            self.input_ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            self.mask[row, longest - len(prompt) :] = True
        self.input_ids, self.mask = self.input_ids.to(student.device), self.mask.to(student.device)
        if capture:
            shape = (self._limit, rows, student.hidden_size)  # a step's states lie together: few pages are touched
            self._states = torch.empty(shape, dtype=student.model.dtype, device=student.device)

    def noise_now(self) -> Tensor:
        """float32 [R]: the noise of the rows in the batch for the token that comes next."""
        return self._noise[self._slots, self._step]

    def record_prompts(self, states: Tensor) -> None:
        """Pool the prompts' states [P, T, H] into each problem's segment 0, and into its sentences."""
        flat = states[self.mask]
        pieces, poolings = self._student.pieces, self._student.record.poolings
        marks = pieces.marks[np.concatenate([np.asarray(prompt) for prompt in self._prompts])]
        whole = np.concatenate([[0], np.cumsum([len(prompt) for prompt in self._prompts])])
        self._prompt_latents = to_float16(pool_segments(flat, whole, marks, poolings))
        inner = [sentence_ids(pieces, prompt)[:-1] for prompt in self._prompts]
        bounds = np.concatenate([*(part + first for part, first in zip(inner, whole[:-1], strict=True)), whole[-1:]])
        sentences = to_float16(pool_segments(flat, bounds, marks, poolings))
        self._sentences = np.split(sentences, np.cumsum([len(part) for part in inner])[:-1])

    def record_tokens(self, chosen: list[int], tokens: Tensor, log_probabilities: Tensor, certainty: Tensor) -> None:
        """The tokens int64 [R] drawn at this step, and their scores float32 [R]."""
        slots = self._rows()
        ids = np.asarray(chosen)
        self._ids[slots, self._step] = ids
        self._scores[0, self._slots, self._step] = log_probabilities
        self._scores[1, self._slots, self._step] = certainty
        for index in np.flatnonzero(self._stops[ids] & ~self._ended[slots]):
            self._check_end(int(slots[index]), chosen[index])
        self._step += 1

    def record_states(self, states: Tensor) -> None:
        """The states [R, H] of the tokens drawn at the last step, now that they were fed."""
        self._states[self._step - 1, self._slots] = states

    def is_over(self) -> bool:
        """Whether no more tokens are wanted."""
        return bool(self._ended.all()) or self._step == self._limit

    def awaits_states(self) -> bool:
        """Whether the token drawn last belongs to some chain, so that its state is wanted."""
        return self.captures and bool((self._lengths[self._rows()] >= self._step).any())

    def drop_finished(self, share: float) -> Tensor | None:
        """Let finished problems go if at most `share` of those in the batch still run.

        Returns the positions int64 of those that go on, or None where all stay.
        """
        rows = self._rows()
        finished = self._ended[rows] & ((self._lengths[rows] < self._step) | (not self.captures))
        running = ~finished.reshape(-1, self._samples).all(axis=1)
        if not running.any() or running.mean() > share:
            return None
        kept = np.flatnonzero(running)
        self.problems = self.problems[kept]
        self._slots = torch.from_numpy(self._rows()).to(self._slots.device)
        return torch.from_numpy(kept).to(self._slots.device)

    def chains(self) -> list[list[SampledChain]]:
        """K chains for each problem of the batch."""
        log_probabilities, certainty = self._scores.cpu().numpy()
        latents = self._latents() if self.captures else [None] * len(self._ids)
        rows = []
        for row, length in enumerate(self._lengths):
            ids = self._ids[row, :length].tolist()
            rows.append(
                SampledChain(
                    text=self._student.pieces.text(ids),
                    token_ids=ids,
                    token_logprobs=log_probabilities[row, :length].tolist(),
                    self_certainty=float(certainty[row, :length].mean()) if length else 0.0,
                    finished=bool(self._ended[row]),
                    latents=latents[row],
                    sentences=self._sentences[row // self._samples] if self.captures else None,
                    segmentation=self._student.record.segmentation,
                )
            )
        return [rows[start : start + self._samples] for start in range(0, len(rows), self._samples)]

    def _rows(self) -> Int64:
        return (self.problems[:, None] * self._samples + np.arange(self._samples)).ravel()

    def _check_end(self, row: int, token: int) -> None:
        """Called before `_step` moves past a token that may end its chain."""
        if token in self._student.eos_ids:
            self._ended[row] = True
            self._lengths[row] = self._step
            return
        line = self._student.pieces.text(self._ids[row, self._line_starts[row] : self._step + 1].tolist())
        if parse_chain(line).final_answer is not None:
            self._ended[row] = True
            self._lengths[row] = self._step + 1
        # A token that goes on after its newline begins the next line too.
        self._line_starts[row] = self._step + 1 if line.endswith("\n") else self._step

    def _latents(self) -> list[Float16]:
        """float16 [segments, width] of every row, the prompt's latent first: all rows are pooled at once."""
        pieces = self._student.pieces
        mode = self._student.record.segmentation
        bounds = [segment_ids(pieces, self._ids[row, :length], mode) for row, length in enumerate(self._lengths)]
        rows = [row for row, bound in enumerate(bounds) if len(bound) > 1]
        if not rows:
            return [self._prompt_latents[row // self._samples][None] for row in range(len(bounds))]
        lengths = np.array([self._lengths[row] for row in rows])
        firsts = np.cumsum(lengths) - lengths
        flat = np.concatenate(
            [*(bounds[row][:-1] + first for row, first in zip(rows, firsts, strict=True)), [lengths.sum()]]
        )
        ids = np.concatenate([self._ids[row, :length] for row, length in zip(rows, lengths, strict=True)])
        places = [np.arange(length) * len(bounds) + row for row, length in zip(rows, lengths, strict=True)]
        states = self._states.flatten(0, 1)[torch.from_numpy(np.concatenate(places)).to(self._states.device)]
        pooled = to_float16(
            pool_segments(states, flat.astype(np.int64), pieces.marks[ids], self._student.record.poolings)
        )
        latents, taken = [], 0
        for row, bound in enumerate(bounds):
            count = len(bound) - 1
            prompt = self._prompt_latents[row // self._samples][None]
            latents.append(np.concatenate([prompt, pooled[taken : taken + count]]))
            taken += count
        return latents
