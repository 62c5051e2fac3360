"""From chains of text to one vector a segment: the student cut at its layer, batches of chains of about one length.

Nothing is read or written here; shards of what comes out live in `rjepa.latents.shards`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from rjepa.progress import Progress, silent
from rjepa.students.loading import Student
from rjepa.students.pooling import pool_segments, to_float16
from rjepa.students.prompts import encode_prompts, render_prompt
from rjepa.students.segmentation import segment_many, sentence_ids

_TOKENS_A_BATCH = 2048
"""Padded tokens in one forward. On the CPU larger batches leave the cache (8192: 0.8 times as fast with tiny-a) and
smaller ones cost calls (512: 0.8 times)."""


@dataclass(frozen=True)
class ChainLatents:
    """One encoded chain.

    latents: float16 [segments, width], the prompt first. boundaries: int64 [segments + 1], the first token of each
    segment, then the number of tokens. sentences: float16 [sentences, width], those of the prompt.
    """

    latents: npt.NDArray[np.float16]
    boundaries: npt.NDArray[np.int64]
    sentences: npt.NDArray[np.float16]

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and the chain."""
        return int(self.boundaries[-1])


@torch.inference_mode()
def extract_latents(
    student: Student,
    statements: Sequence[str],
    chains: Sequence[str],
    *,
    tokens_a_batch: int = _TOKENS_A_BATCH,
    progress: Progress = silent,
) -> list[ChainLatents | None]:
    """Latents of each chain's text after its statement's prompt; None for a chain longer than the context.

    Equal, within floating point, to what `hidden_states[layer_idx]` of the whole model pools to.
    """
    if len(statements) != len(chains):
        raise ValueError(f"expected a chain for each statement, got {len(statements)} and {len(chains)}")
    prompt_format = student.record.prompt
    distinct = list(dict.fromkeys(statements))
    rendered = [render_prompt(student.tokenizer, prompt_format, statement) for statement in distinct]
    prompt_ids = dict(zip(distinct, encode_prompts(student.tokenizer, prompt_format, rendered), strict=True))
    prompts, mode = [prompt_ids[statement] for statement in statements], student.record.segmentation
    encoded = segment_many(student.tokenizer, prompts, list(chains), mode)
    fits = [index for index, (ids, _) in enumerate(encoded) if 0 < len(ids) <= student.context_length]
    fits.sort(key=lambda index: len(encoded[index][0]), reverse=True)
    results: list[ChainLatents | None] = [None] * len(chains)
    started, tokens, done = time.monotonic(), 0, len(chains) - len(fits)
    while done < len(chains):
        first = done - (len(chains) - len(fits))
        longest = len(encoded[fits[first]][0])
        batch = fits[first : first + max(1, tokens_a_batch // longest)]
        for index, latents in zip(batch, _encode_batch(student, [encoded[index] for index in batch]), strict=True):
            results[index] = latents
            tokens += latents.tokens
        done += len(batch)
        progress(done, len(chains), f"{tokens / (time.monotonic() - started):.0f} tokens/s")
    return results


def _encode_batch(student: Student, batch: list[tuple[list[int], npt.NDArray[np.int64]]]) -> list[ChainLatents]:
    """Encode chains of about one length together. Padding stands on the right, where a causal model never reads it."""
    longest = max(len(ids) for ids, _ in batch)
    input_ids = torch.full((len(batch), longest), student.pad_id)
    for row, (ids, _) in enumerate(batch):
        input_ids[row, : len(ids)] = torch.tensor(ids)
    states = student.encoder(input_ids=input_ids.to(student.device), use_cache=False).last_hidden_state
    lengths = [len(ids) for ids, _ in batch]
    flat = torch.cat([states[row, :length] for row, length in enumerate(lengths)])
    content = student.pieces.has_content[np.concatenate([ids for ids, _ in batch])]
    segments = _pool(student, flat, content, lengths, [bounds[:-1] for _, bounds in batch])
    # The last "sentence" is the chain, which is not wanted here.
    inner = [np.append(sentence_ids(student.pieces, ids[: bounds[1]])[:-1], bounds[1]) for ids, bounds in batch]
    sentences = [part[:-1] for part in _pool(student, flat, content, lengths, inner)]
    bounds = [bounds for _, bounds in batch]
    return [ChainLatents(*parts) for parts in zip(segments, bounds, sentences, strict=True)]


def _pool(
    student: Student,
    flat: torch.Tensor,
    content: npt.NDArray[np.bool_],
    lengths: list[int],
    starts: list[npt.NDArray[np.int64]],
) -> list[npt.NDArray[np.float16]]:
    """float16 [segments, width] of each text, from the states of all of them end to end and where segments start."""
    firsts = np.cumsum(lengths) - lengths
    absolute = [part + first for part, first in zip(starts, firsts, strict=True)]
    boundaries = np.concatenate([*absolute, [sum(lengths)]]).astype(np.int64)
    pooled = to_float16(pool_segments(flat, boundaries, content, student.record.poolings))
    return np.split(pooled, np.cumsum([len(part) for part in starts])[:-1])
