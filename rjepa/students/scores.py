"""Tokens as people and clients name them, and their log-probabilities, read off logits at temperature 1."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rjepa.errors import InvalidInputError
from rjepa.students.loading import Student
from rjepa.students.sampled import TokenScore


def score_rows(
    student: Student, logits: Float[Tensor, "rows vocab"], tokens: Sequence[int], top: int
) -> list[TokenScore]:
    """The score of one token a row, with the `top` most probable tokens of that row, best first."""
    logprobs = logits.float().log_softmax(dim=-1)
    own = logprobs.gather(1, torch.tensor(tokens, device=logits.device)[:, None]).squeeze(1).tolist()
    best = logprobs.topk(min(top, logprobs.shape[-1]), dim=-1)
    return [
        _score(student, token, logprob, tuple(_score(student, *one) for one in zip(ids, values, strict=True)))
        for token, logprob, ids, values in zip(tokens, own, best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _score(student: Student, token: int, logprob: float, top: tuple[TokenScore, ...] = ()) -> TokenScore:
    return TokenScore(token, token_name(student, token), logprob, top)


def token_name(student: Student, token: int) -> bytes:
    """The bytes that a token adds to a text; of a special token, which adds none, its name."""
    piece = student.pieces.pieces[token]
    if piece or token >= len(student.tokenizer):
        return piece
    return str(student.tokenizer.convert_ids_to_tokens(token)).encode()


class ScoreList:
    """The scores of a row's tokens, and which of them were sent: none before the text of its token is certain."""

    def __init__(self, beginning: Sequence[TokenScore]) -> None:
        """beginning: scores of the tokens that a fork begins with, which its parent has sent."""
        self._scores, self._ends = list(beginning), [0] * len(beginning)
        self._sent = len(beginning)

    @property
    def all(self) -> tuple[TokenScore, ...]:
        """All of them."""
        return tuple(self._scores)

    def append(self, score: TokenScore, size: int) -> None:
        """Add the score of a token that adds `size` bytes to the text."""
        self._scores.append(score)
        self._ends.append((self._ends[-1] if self._ends else 0) + size)

    def take(self, shown: int | None) -> tuple[TokenScore, ...]:
        """Those that were not sent yet, of the first `shown` bytes that the row added to its text; None for all."""
        first, last = self._sent, self._sent
        while last < len(self._scores) and (shown is None or self._ends[last] <= shown):
            last += 1
        self._sent = last
        return tuple(self._scores[first:last])

    def trim(self, count: int) -> None:
        """Take the newest `count` away."""
        del self._scores[len(self._scores) - count :], self._ends[len(self._ends) - count :]


def require_tokens(student: Student, tokens: Sequence[int], vocabulary: int) -> None:
    """Refuse ids that a student has no token for.

    Raises:
        InvalidInputError: there are some.
    """
    foreign = [token for token in tokens if not 0 <= token < vocabulary]
    if foreign:
        raise InvalidInputError(
            f"{student.record.llm_tag} has no token {foreign[0]}",
            cure=f"use its own token ids, 0 to {vocabulary - 1}",
        )
