"""Tokens of an answer with their log-probabilities, as a question may ask for them: values that JSON can hold.

What a session notes of the tokens that it draws is `rjepa.students.sampled.TokenScore`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pydantic import Field

from rjepa.values import FrozenValue

if TYPE_CHECKING:  # it imports torch, which reading an answer does not need
    from rjepa.students.sampled import TokenScore

_LEAST: Final = -9999.0
"""Stands for minus infinity, which JSON cannot hold; OpenAI's number for the same."""


class TokenReport(FrozenValue):
    """One token of a text. Log-probabilities are the student's own, natural logarithms at temperature 1."""

    id: int
    text: str = Field(
        description="a character of which it holds a part is shown as U+FFFD; a special token by its name"
    )
    bytes: tuple[int, ...]
    logprob: float
    top: "tuple[TokenReport, ...]" = Field((), description="the most probable tokens of its place, best first")


def report_tokens(scores: "Sequence[TokenScore] | None") -> tuple[TokenReport, ...] | None:
    """Reports of scored tokens; None where no scores were asked for."""
    return None if scores is None else tuple(_report(score) for score in scores)


def _report(score: "TokenScore") -> TokenReport:
    return TokenReport(
        id=score.token,
        text=score.piece.decode("utf-8", "replace"),
        bytes=tuple(score.piece),
        logprob=max(score.logprob, _LEAST),
        top=tuple(_report(one) for one in score.top),
    )
