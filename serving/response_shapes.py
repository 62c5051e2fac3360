"""The shapes of /v1/responses: the response object, and the events of a stream in the order that clients expect."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from rjepa.reasoning.question import Message
from rjepa.reasoning.tokens import TokenReport
from serving import sse
from serving.replies import Choice, logprob_of
from serving.response_schemas import ResponsesRequest


@dataclass(frozen=True)
class ResponseShape:
    """Builds the objects of one response. Its own id and its request never change."""

    id: str
    request: ResponsesRequest
    release_id: str
    created: float = field(default_factory=time.time)

    def response(self, status: str, output: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """The response object; `more` holds what is only known at the end."""
        asked = self.request
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "model": asked.model,
            "output": output,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.instructions,
            "metadata": asked.metadata or {},
            "previous_response_id": asked.previous_response_id,
            "max_output_tokens": asked.max_output_tokens,
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "parallel_tool_calls": False,
            "tool_choice": "none",
            "tools": [],
            "text": {"format": {"type": "text"}},
            "truncation": "disabled",
            "background": False,
            "store": asked.store is not False,
            "usage": None,
            "system_fingerprint": self.release_id,
        } | more

    def finished(self, choice: Choice, usage: dict[str, int]) -> dict[str, Any]:
        """The whole response."""
        status = "completed" if choice.finished else "incomplete"
        return self.response(
            status,
            [_message(item_id(self.id), status, [_part(choice.text, logprobs_of(choice.tokens))])],
            incomplete_details=None if choice.finished else {"reason": "max_output_tokens"},
            completed_at=time.time() if choice.finished else None,
            usage={
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage["total_tokens"],
            },
            rjepa=choice.rjepa,
        )


def item_id(response_id: str) -> str:
    """The id of a response's one output item; with a place after it, that of a message that it answers."""
    return f"msg_{response_id.removeprefix('resp_')}"


def input_item_values(response_id: str, messages: Sequence[Message]) -> Iterator[dict[str, Any]]:
    """The messages that a response answered, as items. Their ids follow from the response's and from their place."""
    for place, message in enumerate(messages):
        kind = "output_text" if message.role == "assistant" else "input_text"
        part: dict[str, Any] = {"type": kind, "text": message.content}
        if kind == "output_text":
            part["annotations"] = []
        yield {
            "id": f"{item_id(response_id)}_{place}",
            "type": "message",
            "role": message.role,
            "status": "completed",
            "content": [part],
        }


def logprobs_of(tokens: Sequence[TokenReport] | None) -> list[dict[str, Any]]:
    """Log-probabilities of tokens as OpenAI writes them; none where there are no tokens."""
    return [logprob_of(token) for token in tokens or ()]


def _message(item: str, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": item, "type": "message", "role": "assistant", "status": status, "content": content}


def _part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def stored_events(whole: dict[str, Any], after: int = -1) -> Iterator[bytes]:
    """The events of a stored response, all that it had to say in one piece.

    Args:
        after: number of the event that a client has last seen.
    """
    running = whole | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    return islice(_all_of(ResponseEvents(running), whole), after + 1, None)


def _all_of(events: "ResponseEvents", whole: dict[str, Any]) -> Iterator[bytes]:
    part = whole["output"][0]["content"][0]
    yield from events.begin()
    yield events.piece(part["text"], part["logprobs"])
    yield from events.end(whole)


class ResponseEvents:
    """The events of one stream, numbered.

    Args:
        running: the response object in progress.
    """

    def __init__(self, running: dict[str, Any]) -> None:
        self._running = running
        self._number = -1
        self._item_id = item_id(running["id"])
        self._place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}

    def begin(self) -> Iterator[bytes]:
        """What comes before the first word."""
        item = _message(self._item_id, "in_progress", [])
        yield self._event("response.created", response=self._running)
        yield self._event("response.in_progress", response=self._running)
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **self._place, part=_part("", []))

    def piece(self, text: str, logprobs: list[dict[str, Any]], told: dict[str, Any] | None = None) -> bytes:
        """A piece of the answer's text, with an event of R-JEPA's own or without: one that adds no text is a delta of
        none. It has no type of its own, for OpenAI's client in Node ends a stream at a type that it does not know.
        """
        ours = {} if told is None else {"rjepa": {"event": told}}
        return self._event("response.output_text.delta", **self._place, delta=text, logprobs=logprobs, **ours)

    def end(self, whole: dict[str, Any]) -> Iterator[bytes]:
        """What comes after the last word of the `whole` response."""
        (item,) = whole["output"]
        (part,) = item["content"]
        said = {"text": part["text"], "logprobs": part["logprobs"]}
        yield self._event("response.output_text.done", **self._place, **said)
        yield self._event("response.content_part.done", **self._place, part=part)
        yield self._event("response.output_item.done", output_index=0, item=item)
        yield self._event(f"response.{whole['status']}", response=whole)

    def fail(self, error: dict[str, Any]) -> bytes:
        """The end of a stream that something went wrong in."""
        details = {"code": "server_error", "message": error["message"]}
        return self._event("response.failed", response=self._running | {"status": "failed", "error": details})

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        return sse.event({"type": kind, "sequence_number": self._number} | fields, kind)
