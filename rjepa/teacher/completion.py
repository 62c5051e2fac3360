"""What the body of a chat completion says: its text, why it ended, what it claims to have used.

Whether a body is a completion at all, and what an error says, is `refusals`' matter; whether the text is the structure
that was asked for, `replies`'.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from rjepa.teacher.errors import CallError


@dataclass(frozen=True)
class Reply:
    """What an endpoint answered. Token counts are as it claims, None where it claims nothing sensible."""

    text: str
    """What it says to us; empty where it only thought, called a tool, or refused."""
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    thinking: str = ""
    """What a reasoning model wrote beside its answer, in a field of its own."""
    refusal: str | None = None
    """Its words where it refuses in the field that is made for that."""
    calls_tools: bool = False
    at: datetime | None = None

    def received(self, at: datetime) -> "Reply":
        """The same reply, with the moment at which it came."""
        return replace(self, at=at)


def read_completion(body: str) -> Reply:
    """Read the body of a chat completion.

    Raises:
        CallError: it is none.
    """
    try:
        completion = json.loads(body)
        choice = completion["choices"][0]
        message = choice["message"]
        text, thinking = _texts(message.get("content"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise CallError("not_a_completion", "the answer has no message in its choices") from None
    usage = completion.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    finish, refusal = choice.get("finish_reason"), message.get("refusal")
    beside = [message.get(name) for name in ("reasoning_content", "reasoning")]
    return Reply(
        _storable(text),
        finish if isinstance(finish, str) else None,
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _storable("\n".join([thinking, *(one for one in beside if isinstance(one, str))]).strip()),
        _storable(refusal) if isinstance(refusal, str) and refusal.strip() else None,
        bool(message.get("tool_calls") or message.get("function_call")),
    )


def _texts(content: Any) -> tuple[str, str]:
    """What a message says and what it thinks; some endpoints send both as a list of parts."""
    if content is None:
        return "", ""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, list):
        raise TypeError("content is neither text nor parts")
    spoken: list[str] = []
    thought: list[str] = []
    for part in content:
        if isinstance(part, str):
            spoken.append(part)
        elif isinstance(part.get("text"), str):
            (thought if part.get("type") in ("thinking", "reasoning") else spoken).append(part["text"])
        elif part.get("thinking"):
            thought.append(_texts(part["thinking"])[0])
    return "".join(spoken), "".join(thought)


def _storable(text: str) -> str:
    """The text with half a surrogate pair replaced, which can be neither sent nor stored."""
    return text.encode("utf-8", "replace").decode()


def _count(claimed: object) -> int | None:
    return claimed if isinstance(claimed, int) and not isinstance(claimed, bool) and claimed >= 0 else None
