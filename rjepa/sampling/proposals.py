"""What an OpenAI-compatible server would write next, a token at a time, with the most probable ones at each place.

The body that asks for it and what comes back, of vLLM, SGLang, llama.cpp and OpenAI's own form of completions. Nothing
is sent here, and nothing drawn: what becomes of proposals is `rjepa.sampling.stepped_session`'s.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from rjepa.arrays import Float32, Int64
from rjepa.students.loading import Student
from rjepa.students.scores import token_name
from rjepa.teacher.errors import CallError

_BY_ID: Final = "return_tokens_as_token_ids"
"""vLLM's: tokens are named `token_id:7`, and not by a text that several of them may have."""
_ID_PREFIX: Final = "token_id:"


@dataclass(frozen=True)
class Proposal:
    """The next token of a chain as a server sees it.

    ids: the most probable tokens. logprobs: float32, theirs at temperature 1, as the server's model has them. own: the
    one that the server goes on from, the most probable.
    """

    ids: Int64
    logprobs: Float32
    own: int


@dataclass(frozen=True)
class ProposalForm:
    """One way to ask. top: tokens at each place. as_ids: the prompt as ids, which is exact, or as text."""

    top: int
    as_ids: bool = True
    extra: tuple[str, ...] = ()

    def body(self, model: str, ids: Sequence[int], text: str, most: int) -> dict[str, Any]:
        """A request for what comes after a prompt, `most` tokens at most."""
        body: dict[str, Any] = {"model": model, "prompt": list(ids) if self.as_ids else text, "max_tokens": most}
        return body | {"temperature": 0, "logprobs": self.top} | dict.fromkeys(self.extra, True)


FORMS: Final = tuple(
    ProposalForm(top, as_ids, extra) for as_ids in (True, False) for top, extra in ((20, (_BY_ID,)), (20, ()), (5, ()))
)
"""The forms to try, best first. vLLM gives at most 20 tokens at a place, unless it was started with more; OpenAI's API
at most 5.
"""


class TokenNames:
    """Which token a server means: by the id that it gives, or by the text."""

    def __init__(self, student: Student) -> None:
        self._size = len(student.pieces.pieces)
        self._by_name: dict[bytes, int] = {}
        for token in range(self._size):
            self._by_name.setdefault(token_name(student, token), token)

    def find(self, name: str, given: Any = None) -> int | None:
        """The token of this name, or with the id that came beside it; None for none."""
        if isinstance(given, int) and 0 <= given < self._size:
            return given
        if name.startswith(_ID_PREFIX) and name[len(_ID_PREFIX) :].isdigit():
            token = int(name[len(_ID_PREFIX) :])
            return token if token < self._size else None
        return self._by_name.get(name.encode("utf-8", "replace"))


def read_proposals(reply: str, names: TokenNames) -> tuple[list[Proposal], bool]:
    """The proposals of a reply, up to the first place that cannot be read, and whether the chain ends behind them.

    Raises:
        CallError: it is no completion, or says nothing of other tokens.
    """
    try:
        choice = json.loads(reply)["choices"][0]
        places = _places(choice.get("logprobs"))
        ended = choice.get("finish_reason") == "stop"
        proposals: list[Proposal] = []
        for place, (own, found) in enumerate(places, 1):
            proposal = _proposal(own, found, names)
            if proposal is None:  # what ends a sequence often has no name
                return proposals, ended and place == len(places)
            proposals.append(proposal)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise CallError("not_a_completion", f"{type(error).__name__}: {error}"[:300]) from None
    if not proposals and not ended:
        raise CallError("no_alternatives", "the reply has no log-probabilities of other tokens")
    return proposals, ended


_Named = tuple[str, Any, float]
"""A token's text, its id where one is given, and its log-probability."""


def _places(logprobs: Any) -> list[tuple[_Named, list[_Named]]]:
    """At each place the token that was written and the most probable ones, in the form of a completion or of
    llama.cpp's, which is that of a chat.
    """
    if not isinstance(logprobs, Mapping):
        return []
    if isinstance(logprobs.get("content"), list):
        return [(_named(one), [_named(other) for other in one["top_logprobs"]]) for one in logprobs["content"]]
    tokens, values, top = (logprobs.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not isinstance(tokens, list) or not isinstance(values, list) or not isinstance(top, list):
        return []
    return [
        ((str(token), None, float(value)), [(str(name), None, float(other)) for name, other in others.items()])
        for token, value, others in zip(tokens, values, top, strict=True)
    ]


def _named(one: Mapping[str, Any]) -> _Named:
    return str(one["token"]), one.get("id"), float(one["logprob"])


def _proposal(own: _Named, found: Sequence[_Named], names: TokenNames) -> Proposal | None:
    """None where the token that the server goes on from is unknown here, or its log-probability is no number."""
    token = names.find(own[0], own[1])
    if token is None or not np.isfinite(own[2]):
        return None
    logprobs = {token: own[2]}
    for name, given, value in found:
        other = names.find(name, given)
        if other is not None and np.isfinite(value):
            logprobs.setdefault(other, value)
    return Proposal(
        np.fromiter(logprobs, dtype=np.int64), np.fromiter(logprobs.values(), dtype=np.float32).clip(max=0.0), token
    )
