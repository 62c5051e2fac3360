"""The bodies that ask an OpenAI-compatible server for chains, and what its replies say. Nothing is sent here.

Forms of a request, best first: a completion, whose prompt is ours to the last token; a chat, which the server wraps
in its own template. Each is sent with everything first, and then without what a server may refuse: several chains a
request (llama.cpp gives no more than it has slots), log-probabilities, a seed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rjepa.chains import completes_answer, parse_chain
from rjepa.students.rules import PLAIN, TokenRules
from rjepa.students.stopping import StopWatch
from rjepa.teacher.errors import CallError


@dataclass(frozen=True)
class ChainQuery:
    """What a server is to go on from: the prompt as text, and as messages, which are None where a chain has begun.
    `temperature` 0 is greedy; `rules` are sent in OpenAI's words, top_k and min_p in those of other servers.
    """

    prompt: str
    messages: list[dict[str, str]] | None
    max_tokens: int
    temperature: float
    rules: TokenRules = PLAIN

    def drawing(self) -> dict[str, Any]:
        """The fields of a request that say how tokens are drawn, where that is not the server's own way."""
        given = {name: value for name in _RULES if (value := getattr(self.rules, name)) != getattr(PLAIN, name)}
        if "logit_bias" in given:
            given["logit_bias"] = {str(token): value for token, value in self.rules.logit_bias}
        return given | ({"stop": list(self.rules.stop)} if self.rules.stop else {})


@dataclass(frozen=True)
class ServedChain:
    """One chain as the server wrote it. `logprobs` are of the tokens of `text`; None where it gave none that fit."""

    text: str
    finished: bool
    logprobs: list[float] | None


@dataclass(frozen=True)
class RequestForm:
    """One form of a request; `without` are the fields that it leaves out."""

    path: str
    without: tuple[str, ...] = ()

    def body(self, model: str, query: ChainQuery, count: int, seed: int) -> dict[str, Any]:
        """The request for `count` chains."""
        is_chat = self.path == CHAT
        body: dict[str, Any] = {"model": model, "max_tokens": query.max_tokens, "temperature": query.temperature}
        body |= {"messages": query.messages} if is_chat else {"prompt": query.prompt}
        body |= query.drawing()
        body |= {"n": count, "seed": seed, "logprobs": True if is_chat else 1}
        return {name: value for name, value in body.items() if name not in self.without}


_RULES: Final = ("top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "logit_bias")
COMPLETIONS: Final = "/completions"
CHAT: Final = "/chat/completions"
_LESS: Final[tuple[tuple[str, ...], ...]] = ((), ("n",), ("n", "logprobs"), ("n", "logprobs", "seed"))
FORMS: Final = tuple(RequestForm(path, without) for path in (COMPLETIONS, CHAT) for without in _LESS)
NOT_THESE_FIELDS: Final = ("http_400", "http_422")
NOT_THIS_PATH: Final = ("http_404", "http_405", "http_501")
"""Reasons of a `CallError` that mean: not with these fields; not at this path."""


def next_form(form: RequestForm, reason: str) -> RequestForm | None:
    """The form to try where a server refused this one with `reason` (as of `CallError`); None where none is left, or
    where the reason is another.
    """
    rest = FORMS[FORMS.index(form) + 1 :]
    if reason in NOT_THIS_PATH:
        rest = tuple(other for other in rest if other.path != form.path)
    elif reason not in NOT_THESE_FIELDS:
        return None
    return rest[0] if rest else None


class StreamedChain:
    """A chain that comes in chunks, each put together with those before it as `read_chains` reads a whole reply."""

    def __init__(self, rules: TokenRules) -> None:
        self.text, self.over = "", False
        self._rules, self._watch, self._ended = rules, StopWatch(rules.stop), False

    def add(self, chunk: dict[str, Any]) -> str:
        """What a chunk adds to the text that can be shown. `over` says that no more will come.

        Raises:
            CallError: it is no chunk of a completion.
        """
        try:
            choices = chunk.get("choices") or []
            piece = "".join(_piece(choice) for choice in choices)
            self._ended |= any(choice.get("finish_reason") == "stop" for choice in choices)
        except (AttributeError, TypeError) as error:
            raise CallError("not_a_completion", f"{type(error).__name__}: {error}"[:300]) from None
        return self._shown(self._watch.read(piece.encode("utf-8", "replace")))

    def end(self) -> tuple[str, ServedChain]:
        """What was held back, and the chain, when all chunks have come or it is over."""
        rest = "" if self.over else self._shown(self._watch.rest())
        finished = self.over or self._ended or (self._rules.ends_at_answer and _answers(self.text))
        return rest, ServedChain(self.text, finished, None)

    def _shown(self, data: bytes) -> str:
        before, self.text = len(self.text), self.text + data.decode()
        end = _answer_end(self.text) if self._rules.ends_at_answer and b"\n" in data else None
        self.text = self.text[:end]
        self.over = end is not None or self._watch.cut is not None
        return self.text[before:]


def read_chains(reply: str, rules: TokenRules = PLAIN) -> list[ServedChain]:
    """The chains of a reply to either form, each cut where its answer line ends, and before what it is to stop at.

    Raises:
        CallError: it holds no chain.
    """
    try:
        choices = sorted(json.loads(reply)["choices"], key=lambda choice: choice.get("index") or 0)
        chains = [_read(choice, rules) for choice in choices]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CallError("not_a_completion", f"{type(error).__name__}: {error}"[:300]) from None
    if not chains:
        raise CallError("no_chains", "the reply has no choices")
    return chains


def _read(choice: dict[str, Any], rules: TokenRules) -> ServedChain:
    message = choice.get("message")
    reply_text = choice["text"] if message is None else message["content"]
    if not isinstance(reply_text, str):
        raise TypeError("a choice without text")
    # Half a surrogate pair can be neither encoded nor stored.
    reply_text = reply_text.encode("utf-8", "replace").decode()
    text = _up_to_a_stop(_up_to_the_answer(reply_text) if rules.ends_at_answer else reply_text, rules.stop)
    finished = len(text) < len(reply_text) or choice.get("finish_reason") == "stop"
    finished |= rules.ends_at_answer and _answers(text)
    return ServedChain(text, finished, _logprobs_of(text, reply_text, _tokens(choice.get("logprobs"))))


def _piece(choice: dict[str, Any]) -> str:
    delta = choice.get("delta")
    return str((choice.get("text") if delta is None else delta.get("content")) or "")


def _up_to_the_answer(text: str) -> str:
    """The text with its first answer line, if it has a whole one, as its end: the student itself stops there."""
    return text[: _answer_end(text)]


def _answer_end(text: str) -> int | None:
    """Where the first whole answer line of a text ends."""
    start = 0
    while end := text.find("\n", start) + 1:
        if completes_answer(text[:end], start):
            return end
        start = end
    return None


def _up_to_a_stop(text: str, stops: Sequence[str]) -> str:
    """The text before the first of these strings: a server may leave it in."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]


def _answers(text: str) -> bool:
    return parse_chain(text).final_answer is not None


def _tokens(logprobs: Any) -> list[tuple[str, float]]:
    """Tokens as text with their log-probabilities, in the form of a completion or of a chat; empty for neither."""
    if not isinstance(logprobs, dict):
        return []
    if isinstance(logprobs.get("content"), list):
        return [(str(one["token"]), float(one["logprob"])) for one in logprobs["content"]]
    tokens, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values):
        return []
    return [(str(token), float(value)) for token, value in zip(tokens, values, strict=True) if value is not None]


def _logprobs_of(text: str, reply_text: str, tokens: list[tuple[str, float]]) -> list[float] | None:
    """Those of the tokens that begin inside `text`; None where the tokens do not spell out the reply's text (bytes of a
    split character, say), as it is unknown then which belong to it.
    """
    if not tokens or not "".join(token for token, _ in tokens).startswith(reply_text):
        return None
    values, start = [], 0
    for token, value in tokens:
        if start >= len(text):
            break
        values.append(min(value, 0.0))
        start += len(token)
    return values
