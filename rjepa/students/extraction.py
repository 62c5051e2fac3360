"""From chains of text to one vector a segment: the student cut at its layer, many chains in one forward.

What chains of a problem begin with, the prompt first of all, is read once (`rjepa.students.packing`), where the
architecture allows it. All is computed in the student's own precision (`dtype` of its record), which is a part of its
fingerprint. Nothing is read or written here; shards of what comes out live in `rjepa.latents.shards`.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rjepa.arrays import Float16, Float32, Int64
from rjepa.progress import Progress, silent
from rjepa.students.loading import Student
from rjepa.students.packing import pack, shared_length
from rjepa.students.pooling import pool_segments, to_float16
from rjepa.students.prompts import encode_prompts, render_prompt
from rjepa.students.segmentation import TokenMarks, segment_many, sentence_ids

_TOKENS_A_BATCH_CPU = 2048
"""Tokens read in one forward. Larger batches leave the cache (8192: 0.8 times as fast with tiny-a), smaller ones cost
calls (512: 0.8 times)."""

_TOKENS_A_BATCH = 32_768
"""Tokens read in one forward on every other device, which a batch of the size above would leave idle."""


_PADDED = 1.1
"""Tokens with padding over tokens without, up to which a batch that shares nothing is padded rather than packed."""


@dataclass(frozen=True)
class ChainLatents:
    """One encoded chain.

    latents: float16 [segments, width], the prompt first. boundaries: int64 [segments + 1], the first token of each
    segment, then the number of tokens. sentences: float16 [sentences, width], those of the prompt.
    """

    latents: Float16
    boundaries: Int64
    sentences: Float16

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and the chain."""
        return int(self.boundaries[-1])


@dataclass(frozen=True)
class EncodedText:
    """A chain after its prompt: which it is, its tokens, and int64 [segments + 1], where segments begin."""

    index: int
    statement: str
    ids: list[int]
    boundaries: Int64


def extract_latents(
    student: Student,
    statements: Sequence[str],
    chains: Sequence[str],
    *,
    tokens_a_batch: int | None = None,
    progress: Progress = silent,
) -> list[ChainLatents | None]:
    """Latents of each chain's text after its statement's prompt; None for a chain longer than the context.

    Equal, within floating point, to what `hidden_states[layer_idx]` of the whole model pools to.
    """
    results: list[ChainLatents | None] = [None] * len(chains)
    for batch in extract_batches(student, statements, chains, tokens_a_batch=tokens_a_batch, progress=progress):
        for index, latents in batch.items():
            results[index] = latents
    return results


def extract_batches(
    student: Student,
    statements: Sequence[str],
    chains: Sequence[str],
    *,
    tokens_a_batch: int | None = None,
    progress: Progress = silent,
) -> Iterator[dict[int, ChainLatents | None]]:
    """As `extract_latents`, forward by forward: what each gives, by the chain's index. Each index comes once."""
    if len(statements) != len(chains):
        raise ValueError(f"expected a chain for each statement, got {len(statements)} and {len(chains)}")
    budget = tokens_a_batch or most_tokens(student)
    encoded = encode_chains(student, statements, chains)
    texts = [text for text in encoded if 0 < len(text.ids) <= student.context_length]
    if left_out := {text.index for text in encoded} - {text.index for text in texts}:
        yield dict.fromkeys(sorted(left_out))
    started, tokens, done = time.monotonic(), 0, len(left_out)
    for batch in packed_batches(texts, budget) if student.shares_prefix else _padded_batches(texts, budget):
        pooled = _extract_batch(student, batch)
        tokens += sum(latents.tokens for latents in pooled)
        done += len(batch)
        progress(done, len(chains), f"{tokens / (time.monotonic() - started):.0f} tokens/s")
        yield {text.index: latents for text, latents in zip(batch, pooled, strict=True)}


def most_tokens(student: Student) -> int:
    """Tokens that are read in one forward."""
    return _TOKENS_A_BATCH_CPU if student.device.type == "cpu" else _TOKENS_A_BATCH


@torch.inference_mode()
def embed_texts(student: Student, texts: Sequence[Sequence[int]]) -> Float32:
    """float32 [texts, hidden size]: the mean state of each text's tokens at the student's layer, without special tokens
    where a text has others. What stands beside a text changes nothing.
    """
    budget = most_tokens(student)
    none = np.zeros(1, dtype=np.int64)
    found = np.zeros((len(texts), student.hidden_size), dtype=np.float32)
    for batch in _padded_batches([EncodedText(index, "", list(ids), none) for index, ids in enumerate(texts)], budget):
        states = _padded_states(student, batch).float().split([len(text.ids) for text in batch])
        for text, rows in zip(batch, states, strict=True):
            written = torch.from_numpy(student.pieces.lengths[text.ids] > 0).to(rows.device)
            found[text.index] = (rows[written] if written.any() else rows).mean(dim=0).cpu().numpy()
    return found


@torch.inference_mode()
def _extract_batch(student: Student, batch: list[EncodedText]) -> list[ChainLatents]:
    packs = student.shares_prefix and _gains_by_packing(batch)
    states = _packed_states(student, batch) if packs else _padded_states(student, batch)
    return pool_batch(student, states, batch)


def encode_chains(student: Student, statements: Sequence[str], chains: Sequence[str]) -> list[EncodedText]:
    """Tokens of every chain after its prompt, in two calls to the tokenizer."""
    distinct = list(dict.fromkeys(statements))
    rendered = [render_prompt(student.tokenizer, student.record.prompt, statement) for statement in distinct]
    encoded = encode_prompts(student.tokenizer, student.record.prompt, rendered)
    prompts = dict(zip(distinct, encoded, strict=True))
    segmented = segment_many(
        student.tokenizer, [prompts[statement] for statement in statements], list(chains), student.record.segmentation
    )
    return [
        EncodedText(index, statement, *parts)
        for index, (statement, parts) in enumerate(zip(statements, segmented, strict=True))
    ]


def packed_batches(texts: list[EncodedText], budget: int) -> Iterator[list[EncodedText]]:
    """Chains of a problem together, sorted so that neighbours share most; problems of about one length together.
    `budget` counts tokens that are read, not those that are shared.
    """
    longest: dict[str, int] = {}
    for text in texts:
        longest[text.statement] = max(longest.get(text.statement, 0), len(text.ids))
    batch: list[EncodedText] = []
    held = 0
    for text in sorted(texts, key=lambda text: (-longest[text.statement], text.statement, text.ids)):
        new = len(text.ids) - (shared_length(batch[-1].ids, text.ids) if batch else 0)
        if batch and held + new > budget:
            yield batch
            batch, held, new = [], 0, len(text.ids)
        batch.append(text)
        held += new
    if batch:
        yield batch


def _gains_by_packing(batch: list[EncodedText]) -> bool:
    """Whether chains share a problem, or padding would cost much. What shares nothing and is of about one length costs
    less as it is than laid end to end and collected again.
    """
    tokens, longest = sum(len(text.ids) for text in batch), max(len(text.ids) for text in batch)
    return len({text.statement for text in batch}) < len(batch) or longest * len(batch) > _PADDED * tokens


def _padded_batches(texts: list[EncodedText], budget: int) -> Iterator[list[EncodedText]]:
    """Chains of about one length together. `budget` counts padding."""
    ordered = sorted(texts, key=lambda text: -len(text.ids))
    while ordered:
        count = max(1, budget // len(ordered[0].ids))
        yield ordered[:count]
        ordered = ordered[count:]


def _packed_states(student: Student, batch: list[EncodedText]) -> torch.Tensor:
    """[tokens, hidden size]: the states of all chains end to end, each distinct beginning read once."""
    packed = pack([text.ids for text in batch], student.device)
    output = student.encoder(
        input_ids=packed.input_ids,
        position_ids=packed.positions,
        # A mask of four dimensions is handed on as it is: what a token sees is decided by the packing.
        attention_mask=packed.input_ids.new_ones(1, 1, 1, 1, dtype=torch.bool),
        packed=packed,
        use_cache=False,
    )
    states: torch.Tensor = output.last_hidden_state[0]
    return states[torch.from_numpy(np.concatenate(packed.paths)).to(student.device)]


def _padded_states(student: Student, batch: list[EncodedText]) -> torch.Tensor:
    """[tokens, hidden size]: as `_packed_states`, for any causal model. Padding stands on the right, where nothing
    reads it.
    """
    longest = max(len(text.ids) for text in batch)
    input_ids = torch.full((len(batch), longest), student.pad_id)
    for row, text in enumerate(batch):
        input_ids[row, : len(text.ids)] = torch.tensor(text.ids)
    states = student.encoder(input_ids=input_ids.to(student.device), use_cache=False).last_hidden_state
    return torch.cat([states[row, : len(text.ids)] for row, text in enumerate(batch)])


def pool_batch(student: Student, states: torch.Tensor, batch: list[EncodedText]) -> list[ChainLatents]:
    """Segments of every chain, and the sentences of every problem once, from the states of all chains end to end."""
    lengths = [len(text.ids) for text in batch]
    firsts = (np.cumsum(lengths) - lengths).tolist()
    marks = student.pieces.marks[np.concatenate([text.ids for text in batch])]
    segments = _pool(student, states, marks, lengths, [text.boundaries[:-1] for text in batch])
    prompts = {text.statement: (first, int(text.boundaries[1])) for first, text in zip(firsts, batch, strict=True)}
    tokens = np.concatenate([first + np.arange(size) for first, size in prompts.values()])
    ids = {text.statement: text.ids[: text.boundaries[1]] for text in batch}
    starts = [sentence_ids(student.pieces, ids[statement])[:-1] for statement in prompts]
    pooled = _pool(
        student,
        states[torch.from_numpy(tokens).to(states.device)],
        marks[tokens],
        [size for _, size in prompts.values()],
        starts,
    )
    sentences = dict(zip(prompts, pooled, strict=True))
    return [
        ChainLatents(latents, text.boundaries, sentences[text.statement])
        for latents, text in zip(segments, batch, strict=True)
    ]


def _pool(
    student: Student,
    flat: torch.Tensor,
    marks: TokenMarks,
    lengths: list[int],
    starts: list[Int64],
) -> list[Float16]:
    """float16 [segments, width] of each text, from the states of all of them end to end and where segments start."""
    firsts = np.cumsum(lengths) - lengths
    absolute = [part + first for part, first in zip(starts, firsts, strict=True)]
    boundaries = np.concatenate([*absolute, [sum(lengths)]]).astype(np.int64)
    pooled = to_float16(pool_segments(flat, boundaries, marks, student.record.poolings))
    return np.split(pooled, np.cumsum([len(part) for part in starts])[:-1])
