"""What a request to /v1/responses may hold, and what of it becomes a conversation."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

from pydantic import Field, StrictBool

from rjepa.reasoning.conversation import ChatMessage, ContentPart
from rjepa.reasoning.question import InvalidQuestionError, Message
from rjepa.values import LenientValue, Words
from serving.lenient import Notes, Number, Whole
from serving.schemas import NamedTool, ResponseFormat, RjepaOptions, UserName, refuse_format

_UNREAD: Final = ("reasoning", "function_call", "custom_tool_call", "web_search_call", "file_search_call")
"""Items of an earlier answer, of another model mostly, that add no words to a conversation."""

_TOOL_OUTPUTS: Final = ("function_call_output", "custom_tool_call_output")

LOGPROBS: Final = "message.output_text.logprobs"
"""What a client has to include so that `top_logprobs` shows."""

_CANNOT: Final = {
    "background": "send the request and wait for the answer, or stream it",
    "conversation": "send the earlier messages as input, or name the last answer in previous_response_id",
    "prompt": "send the prompt's text as instructions",
}
"""Parameters that name something this service does not keep, with the cure."""


class InputItem(LenientValue):
    """One item of the input: a message, also one of our own output, or what a tool gave."""

    type: str = "message"
    role: str | None = None
    content: Words | list[ContentPart] | None = None
    output: Words | list[ContentPart] | None = None
    id: str | None = None
    status: str | None = None
    call_id: str | None = None


class TextOptions(LenientValue):
    format: ResponseFormat | None = None


class ResponsesRequest(LenientValue):
    """A request to POST /v1/responses. Unknown fields are ignored, and listed in the reply."""

    model: str = Field(max_length=200)
    input: Words | Annotated[list[InputItem], Field(min_length=1)]
    instructions: Words | None = None
    previous_response_id: str | None = Field(None, max_length=200)
    store: StrictBool | None = None
    stream: StrictBool | None = None
    max_output_tokens: Annotated[Whole, Field(ge=-1)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    top_logprobs: Annotated[Whole, Field(ge=0)] | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    text: TextOptions | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | NamedTool | None = None
    background: StrictBool | None = None
    conversation: Any = None
    prompt: Any = None
    user: UserName = None
    safety_identifier: UserName = None
    rjepa: RjepaOptions | None = None

    @property
    def sampling(self) -> dict[str, Any]:
        """How tokens are drawn, by the names that a question has for it."""
        scored = LOGPROBS in (self.include or ())
        values = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_logprobs": (self.top_logprobs or 0) if scored else None,
        }
        return {name: value for name, value in values.items() if value is not None}

    def refuse(self) -> None:
        """Refuse what would give another answer than the one that is asked for.

        Raises:
            InvalidQuestionError: a form of the answer that cannot be promised, or something that is not kept here.
        """
        if self.text is not None and self.text.format is not None:
            refuse_format(self.text.format.type, "text.format")
        if self.tool_choice is not None and self.tool_choice not in ("none", "auto"):
            raise InvalidQuestionError(
                "the student calls no tools, so it cannot be made to", cure="leave tool_choice out", field="tool_choice"
            )
        for name, cure in _CANNOT.items():
            if getattr(self, name):
                raise InvalidQuestionError(f"{name} is not known here", cure=cure, field=name)

    def offered_tools(self, notes: Notes) -> tuple[dict[str, Any], ...]:
        """Functions in the form that chat templates know; tools that OpenAI runs itself are noted, and not there."""
        given = [] if self.tool_choice == "none" else self.tools or []
        notes.ignore(f"tools.{tool.get('type')}" for tool in given if tool.get("type") != "function")
        kept = ("name", "description", "parameters")
        return tuple(
            {"type": "function", "function": {name: tool[name] for name in kept if name in tool}}
            for tool in given
            if tool.get("type") == "function"
        )

    def turns(self, notes: Notes, stored: Callable[[str], Message]) -> Iterator[ChatMessage]:
        """The input as messages. Items that add no words are left out, and noted.

        Args:
            stored: the message of an item by its id, for items that name an earlier one in place of its words.

        Raises:
            InvalidQuestionError: an item that cannot be read.
        """
        items = [InputItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        for item in items:
            if item.type == "message":
                yield _message(item)
            elif item.type == "item_reference":
                kept = stored(item.id or "")
                yield ChatMessage(role=kept.role, content=kept.content)
            elif item.type in _TOOL_OUTPUTS:
                yield ChatMessage(role="tool", content=item.output)
            elif item.type in _UNREAD:
                notes.ignore([f"input.{item.type}"])
            else:
                raise InvalidQuestionError(
                    f"an input item of type {item.type[:40]!r}", cure="send messages as input", field="input"
                )


def _message(item: InputItem) -> ChatMessage:
    if item.role not in ("user", "assistant", "system", "developer"):
        raise InvalidQuestionError(
            "an input message with an unknown role",
            cure="choose user, assistant, system or developer",
            field="input.role",
        )
    return ChatMessage.model_validate({"role": item.role, "content": item.content})
