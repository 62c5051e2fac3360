"""What a chat request may hold, and the shapes of a reply: the OpenAI contract plus the `rjepa` field."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator

from rjepa.errors import InvalidInputError
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.question import Message as QuestionMessage

MAX_MESSAGES: Final = 64
MAX_CHARACTERS: Final = 8000
"""Of one message. The bundled students read a few hundred tokens; more is refused by their context length anyway."""

IGNORED: Final = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
)
"""OpenAI parameters that change no answer here: accepted so that clients work unchanged. GET /v1/info lists them."""

NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "stop": ([],),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
}
"""OpenAI parameters that would change the answer and that this service does not have: only these values pass."""

Seed = Annotated[StrictInt, Field(ge=0, lt=2**53)]
"""Whole numbers that JavaScript holds exactly."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextPart(_Body):
    type: Literal["text"]
    text: str = Field(max_length=MAX_CHARACTERS)


class Message(_Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Field(max_length=MAX_CHARACTERS)] | Annotated[list[TextPart], Field(max_length=16)]
    name: str | None = Field(None, max_length=64)

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class RjepaOptions(BaseModel):
    """The extension: a mode, the options of that mode (GET /v1/info lists them), and a seed."""

    model_config = ConfigDict(extra="allow", frozen=True)

    mode: str = "off"
    seed: Seed | None = None

    @property
    def mode_options(self) -> dict[str, Any]:
        """The options of the mode, by name; the mode itself says whether it knows it."""
        return dict(self.model_extra or {})


class StreamOptions(_Body):
    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False


class ChatRequest(_Body):
    """A request to POST /v1/chat/completions."""

    model: str = Field(max_length=200)
    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2, strict=True, allow_inf_nan=False)
    max_tokens: StrictInt | None = Field(None, ge=1)
    max_completion_tokens: StrictInt | None = Field(None, ge=1)
    n: Annotated[StrictInt, Field(ge=1, le=1)] | None = None
    seed: Seed | None = None
    rjepa: RjepaOptions = Field(default_factory=RjepaOptions)

    @model_validator(mode="before")
    @classmethod
    def _drop_what_changes_nothing(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        for name, passing in NEUTRAL.items():
            if body.get(name) is not None and body[name] not in passing:
                raise ValueError(f"this service does not support {name}; leave it out")
        if body.get("rjepa", body) is None:
            body = {name: value for name, value in body.items() if name != "rjepa"}
        return {name: value for name, value in body.items() if name not in IGNORED and name not in NEUTRAL}

    @property
    def limit(self) -> int | None:
        """Tokens that a candidate may have at most; None for the student's own limit."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    def conversation(self) -> tuple[QuestionMessage, ...]:
        """The conversation.

        Raises:
            InvalidInputError: it holds no user message, or the last one is empty.
        """
        texts = [message.text.strip() for message in self.messages if message.role == "user"]
        if not texts:
            raise InvalidInputError(
                "messages holds no message with role user", cure="add the question as a user message"
            )
        if not texts[-1]:
            raise InvalidInputError("the last user message is empty", cure="write the question as its content")
        return tuple(QuestionMessage(role=message.role, content=message.text.strip()) for message in self.messages)


def usage_of(answer: Answer) -> dict[str, int]:
    """Tokens of every candidate count: they were all generated."""
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.cost.tokens_generated,
        "total_tokens": answer.prompt_tokens + answer.cost.tokens_generated,
    }


def rjepa_field(answer: Answer) -> dict[str, Any]:
    """Everything about an answer beyond its text."""
    return answer.model_dump(mode="json", exclude={"text"})


def finish_reason(answer: Answer) -> str:
    return "stop" if answer.finished else "length"


def completion(answer: Answer, *, completion_id: str, created: int) -> dict[str, Any]:
    """The reply of a request without streaming."""
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(answer)}
    return {
        "id": completion_id,
        "object": "chat.completion",
        "created": created,
        "model": answer.llm_tag,
        "system_fingerprint": answer.release_id,
        "choices": [choice],
        "usage": usage_of(answer),
        "rjepa": rjepa_field(answer),
    }
