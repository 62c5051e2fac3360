"""What a student itself thinks of chains that were written elsewhere: log-probabilities and self-certainty by token.

The chains' tokens are read, not sampled; what is kept of sampled chains is `rjepa.students.sampled`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from rjepa.students.loading import Student

_LOGITS_A_BATCH: Final = 1 << 26
"""Logits of one forward, 256 MB in float32: one chain of 400 tokens with a vocabulary of 150,000."""


@dataclass(frozen=True)
class Score:
    """`logprobs` at temperature 1, one a token; `self_certainty` is the mean KL(uniform || model), both in nats."""

    logprobs: list[float]
    self_certainty: float


@torch.inference_mode()
def score_chains(student: Student, prompts: Sequence[Sequence[int]], chains: Sequence[Sequence[int]]) -> list[Score]:
    """The score of each chain's token ids after its prompt's. Each pair has to fit the context; a prompt has tokens."""
    order = sorted(range(len(chains)), key=lambda index: len(prompts[index]) + len(chains[index]))
    scores: list[Score | None] = [None] * len(chains)
    vocabulary = len(student.pieces.pieces)
    while order:
        longest = len(prompts[order[-1]]) + len(chains[order[-1]])
        rows = max(1, _LOGITS_A_BATCH // (longest * vocabulary))
        batch, order = order[-rows:], order[:-rows]
        for index, score in zip(
            batch, _score_batch(student, [(prompts[i], chains[i]) for i in batch], longest), strict=True
        ):
            scores[index] = score
    return [score for score in scores if score is not None]


def _score_batch(student: Student, pairs: list[tuple[Sequence[int], Sequence[int]]], longest: int) -> list[Score]:
    """Padding stands on the right, where a causal model never reads it."""
    input_ids = torch.full((len(pairs), longest), student.pad_id)
    for row, (prompt, chain) in enumerate(pairs):
        input_ids[row, : len(prompt) + len(chain)] = torch.tensor([*prompt, *chain])
    logits = student.model(input_ids=input_ids.to(student.device), use_cache=False).logits
    scores = []
    for row, (prompt, chain) in enumerate(pairs):
        if not chain:
            scores.append(Score([], 0.0))
            continue
        before = logits[row, len(prompt) - 1 : len(prompt) + len(chain) - 1].float()
        normaliser = before.logsumexp(dim=-1)
        chosen = before.gather(1, torch.tensor(chain, device=before.device)[:, None]).squeeze(1)
        certainty = normaliser - before.mean(dim=-1) - math.log(before.shape[-1])
        scores.append(Score((chosen - normaliser).tolist(), float(certainty.mean())))
    return scores
