"""A conversation as OpenAI's clients write it, and what of it becomes the messages of a question.

Clients send back what they were given and add fields of their own, so that a message is read leniently; what cannot be
read at all, such as an image, is refused. Which messages a student then reads belongs to `rjepa.engine`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from rjepa.reasoning.question import InvalidQuestionError, Message, Role
from rjepa.values import LenientValue, Words

_TEXT_PARTS: Final = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Kinds of content parts that are text, of both of OpenAI's APIs, and the field that holds it."""


class ContentPart(LenientValue):
    """One part of a message's content."""

    type: str
    text: Words | None = None
    refusal: Words | None = None

    @property
    def words(self) -> str:
        """Its text.

        Raises:
            InvalidQuestionError: it is an image, a sound, a file or something else that is no text.
        """
        field = _TEXT_PARTS.get(self.type)
        if field is None:
            raise InvalidQuestionError(
                f"a part of type {self.type[:40]!r} in a message: the student reads text and nothing else",
                cure="leave that part out, or say in a text part what it shows",
                field="messages.content",
            )
        return getattr(self, field) or ""


class ChatMessage(LenientValue):
    """One message of a request. `content` is null where an assistant only called tools."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Words | list[ContentPart] | None = None

    @property
    def question_role(self) -> Role:
        """Its role; `function` is OpenAI's older name of `tool`."""
        return "tool" if self.role == "function" else self.role

    @property
    def words(self) -> str:
        """Its text, without the space around it.

        Raises:
            InvalidQuestionError: a part of it is no text.
        """
        if isinstance(self.content, list):
            return "".join(part.words for part in self.content).strip()
        return (self.content or "").strip()


def to_messages(turns: Iterable[ChatMessage]) -> tuple[Message, ...]:
    """The messages of a question. Those without words, such as an assistant's that only calls tools, are left out; the
    last user message has to have some.

    Raises:
        InvalidQuestionError: no user message, an empty last one, or a part that is no text.
    """
    messages = [Message(role=turn.question_role, content=turn.words) for turn in turns]
    asked = [message for message in messages if message.role == "user"]
    if not asked:
        raise InvalidQuestionError(
            "messages holds no message with role user", cure="add the question as a user message", field="messages"
        )
    if not asked[-1].content:
        raise InvalidQuestionError(
            "the last user message is empty", cure="write the question as its content", field="messages"
        )
    return tuple(message for message in messages if message.content)


def read_messages(turns: Sequence[Any]) -> tuple[Message, ...]:
    """The messages of a question from plain JSON values, as a request's `messages` holds them.

    Raises:
        ValidationError: pydantic's, where a turn is no message.
        InvalidQuestionError: as `to_messages`.
    """
    return to_messages(ChatMessage.model_validate(turn) for turn in turns)
