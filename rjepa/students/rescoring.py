"""What a student itself thinks of chains that were written elsewhere: log-probabilities and self-certainty by token.

The chains' tokens are read, not sampled; what is kept of sampled chains is `rjepa.students.sampled`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import torch
from torch import Tensor

from rjepa.students.drawing import score_tokens
from rjepa.students.loading import Student
from rjepa.students.sampled import TokenScore
from rjepa.students.scores import score_rows

Read = TypeVar("Read")

LOGITS_A_BATCH: Final = 1 << 26
"""Logits of one forward, 256 MB in float32: one chain of 400 tokens with a vocabulary of 150,000."""


@dataclass(frozen=True)
class Score:
    """`logprobs` at temperature 1, one a token; `self_certainty` is the mean KL(uniform || model), both in nats."""

    logprobs: list[float]
    self_certainty: float


def score_chains(student: Student, prompts: Sequence[Sequence[int]], chains: Sequence[Sequence[int]]) -> list[Score]:
    """The score of each chain's token ids after its prompt's. Each pair has to fit the context; a prompt has tokens."""
    return _read_each(student, prompts, chains, score_logits)


def score_tokens_of(
    student: Student, prompts: Sequence[Sequence[int]], chains: Sequence[Sequence[int]], top: int
) -> list[list[TokenScore]]:
    """The scores of each chain's tokens after its prompt's, with the `top` most probable tokens of every place. Each
    pair has to fit the context; a prompt has tokens.
    """
    return _read_each(student, prompts, chains, lambda logits, ids: score_rows(student, logits, ids, top))


@torch.inference_mode()
def _read_each(
    student: Student,
    prompts: Sequence[Sequence[int]],
    chains: Sequence[Sequence[int]],
    take: Callable[[Tensor, Sequence[int]], Read],
) -> list[Read]:
    """What `take` makes of each chain's logits [tokens, vocabulary], each before its token, and of its tokens."""
    order = sorted(range(len(chains)), key=lambda index: len(prompts[index]) + len(chains[index]))
    found: dict[int, Read] = {}
    vocabulary = len(student.pieces.pieces)
    while order:
        longest = len(prompts[order[-1]]) + len(chains[order[-1]])
        rows = max(1, LOGITS_A_BATCH // (longest * vocabulary))
        batch, order = order[-rows:], order[:-rows]
        logits = _read_batch(student, [(prompts[index], chains[index]) for index in batch], longest)
        for row, index in enumerate(batch):
            prompt, chain = len(prompts[index]), len(chains[index])
            found[index] = take(logits[row, prompt - 1 : prompt + chain - 1].float(), chains[index])
    return [found[index] for index in range(len(chains))]


def _read_batch(student: Student, pairs: list[tuple[Sequence[int], Sequence[int]]], longest: int) -> Tensor:
    """Logits [pairs, longest, vocabulary]. Padding stands on the right, where a causal model never reads it."""
    input_ids = torch.full((len(pairs), longest), student.pad_id)
    for row, (prompt, chain) in enumerate(pairs):
        input_ids[row, : len(prompt) + len(chain)] = torch.tensor([*prompt, *chain])
    logits: Tensor = student.model(input_ids=input_ids.to(student.device), use_cache=False).logits
    return logits


def score_logits(logits: Tensor, chain: Sequence[int]) -> Score:
    """The score of token ids, by the float32 logits [tokens, vocabulary] that stood before each."""
    if not chain:
        return Score([], 0.0)
    logprobs, certainty = score_tokens(logits, torch.tensor(chain, device=logits.device))
    return Score(logprobs.tolist(), float(certainty.mean()))
