"""The shapes of /v1/responses: the response object, and the events of a stream in the order that clients expect."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rjepa.reasoning.question import Message
from rjepa.reasoning.tokens import TokenReport
from serving import sse
from serving.replies import Choice, logprob_of
from serving.response_schemas import ResponsesRequest


@dataclass(frozen=True)
class ResponseShape:
    """Builds the objects of one response. Its own ids and its request never change."""

    id: str
    item_id: str
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

    def message(self, status: str, choice: Choice | None = None) -> dict[str, Any]:
        """The output item; it has no content yet without a choice."""
        content = [] if choice is None else [self.part(choice.text, choice.tokens)]
        return {"id": self.item_id, "type": "message", "role": "assistant", "status": status, "content": content}

    def part(self, text: str, tokens: Sequence[TokenReport] | None = None) -> dict[str, Any]:
        """The one part of the message."""
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": _logprobs(tokens)}

    def finished(self, choice: Choice, usage: dict[str, int]) -> dict[str, Any]:
        """The whole response."""
        status = "completed" if choice.finished else "incomplete"
        return self.response(
            status,
            [self.message(status, choice)],
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


def stored_events(whole: dict[str, Any], after: int = -1) -> Iterator[bytes]:
    """The events of a stored response, all that it had to say in one piece.

    Args:
        after: number of the event that a client has last seen.
    """
    (item,) = whole["output"]
    (part,) = item["content"]
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    running = whole | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    begun = item | {"status": "in_progress", "content": []}
    said = {"logprobs": part["logprobs"]}
    events: list[tuple[str, dict[str, Any]]] = [
        ("created", {"response": running}),
        ("in_progress", {"response": running}),
        ("output_item.added", {"output_index": 0, "item": begun}),
        ("content_part.added", place | {"part": part | {"text": "", "logprobs": []}}),
        ("output_text.delta", place | said | {"delta": part["text"]}),
        ("output_text.done", place | said | {"text": part["text"]}),
        ("content_part.done", place | {"part": part}),
        ("output_item.done", {"output_index": 0, "item": item}),
        (whole["status"], {"response": whole}),
    ]
    for number, (kind, fields) in enumerate(events):
        if number > after:
            yield sse.event({"type": f"response.{kind}", "sequence_number": number} | fields, f"response.{kind}")


def input_item_values(response_id: str, messages: Sequence[Message]) -> Iterator[dict[str, Any]]:
    """The messages that a response answered, as items. Their ids follow from the response's and from their place."""
    for place, message in enumerate(messages):
        kind = "output_text" if message.role == "assistant" else "input_text"
        part: dict[str, Any] = {"type": kind, "text": message.content}
        if kind == "output_text":
            part["annotations"] = []
        yield {
            "id": f"msg_{response_id.removeprefix('resp_')}_{place}",
            "type": "message",
            "role": message.role,
            "status": "completed",
            "content": [part],
        }


def _logprobs(tokens: Sequence[TokenReport] | None) -> list[dict[str, Any]]:
    return [logprob_of(token) for token in tokens or ()]


class ResponseEvents:
    """The events of one stream, numbered."""

    def __init__(self, shape: ResponseShape) -> None:
        self._shape = shape
        self._number = -1
        self._place = {"item_id": shape.item_id, "output_index": 0, "content_index": 0}

    def begin(self) -> Iterator[bytes]:
        """What comes before the first word."""
        running = self._shape.response("in_progress", [])
        yield self._event("response.created", response=running)
        yield self._event("response.in_progress", response=running)
        yield self._event("response.output_item.added", output_index=0, item=self._shape.message("in_progress"))
        yield self._event("response.content_part.added", **self._place, part=self._shape.part(""))

    def piece(self, text: str, tokens: Sequence[TokenReport] = (), told: dict[str, Any] | None = None) -> bytes:
        """A piece of the answer's text, with an event of R-JEPA's own or without: one that adds no text is a delta of
        none. It has no type of its own, for OpenAI's client in Node ends a stream at a type that it does not know.
        """
        ours = {} if told is None else {"rjepa": {"event": told}}
        return self._event("response.output_text.delta", **self._place, delta=text, logprobs=_logprobs(tokens), **ours)

    def end(self, choice: Choice, whole: dict[str, Any]) -> Iterator[bytes]:
        """What comes after the last word."""
        part = self._shape.part(choice.text, choice.tokens)
        yield self._event("response.output_text.done", **self._place, text=choice.text, logprobs=part["logprobs"])
        yield self._event("response.content_part.done", **self._place, part=part)
        yield self._event("response.output_item.done", output_index=0, item=whole["output"][0])
        yield self._event(f"response.{whole['status']}", response=whole)

    def fail(self, error: dict[str, Any]) -> bytes:
        """The end of a stream that something went wrong in."""
        details = {"code": "server_error", "message": error["message"]}
        return self._event("response.failed", response=self._shape.response("failed", [], error=details))

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        return sse.event({"type": kind, "sequence_number": self._number} | fields, kind)
