"""What a request to /v1/chat/completions may hold. How its values become questions is `serving.asking`'s matter."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt

from rjepa.reasoning.conversation import ChatMessage
from rjepa.reasoning.question import MAX_SEED, InvalidQuestionError
from rjepa.students.rules import MAX_BIAS, MAX_STOPS
from rjepa.values import LenientValue, Words
from serving.lenient import Number, Whole

MAX_CHOICES: Final = 64
"""As many as the largest number of candidates."""


MAX_USER: Final = 512
"""Characters of a client's word for one of its users."""


class RjepaOptions(BaseModel):
    """Our own field, read strictly: a mode, the options of that mode (GET /v1/info lists them), a seed, a receipt."""

    model_config = ConfigDict(extra="allow", frozen=True)

    mode: str | None = None
    seed: Annotated[StrictInt, Field(ge=0, lt=MAX_SEED)] | None = None
    keep_question: StrictBool = False
    """Whether the receipt holds the question itself."""
    consent: StrictBool = False
    """Whether question and answer may be kept, redacted, to learn from (docs/feedback.md): for this request alone."""

    @property
    def mode_options(self) -> dict[str, Any]:
        """The options of the mode, by name; the mode itself says whether it knows them."""
        return dict(self.model_extra or {})


def _a_name(value: Any) -> Any:
    """Anything but a text that names somebody is taken for nobody's name."""
    return value or None if isinstance(value, str) and len(value) <= MAX_USER else None


UserName = Annotated[Words | None, BeforeValidator(_a_name)]
"""A client's own word for one of its users. Feedback belongs to them; what is kept of the word is a keyed hash."""


class StreamOptions(LenientValue):
    include_usage: StrictBool = False


class ResponseFormat(LenientValue):
    type: str


class NamedTool(LenientValue):
    """A tool that the model is made to call."""

    type: str


class ChatRequest(LenientValue):
    """A request to POST /v1/chat/completions. Unknown fields are ignored, and listed in the reply."""

    model: str = Field(max_length=200)
    messages: list[ChatMessage] = Field(min_length=1)
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[Whole, Field(ge=1, le=MAX_CHOICES)] | None = None
    max_tokens: Annotated[Whole, Field(ge=-1)] | None = None
    max_completion_tokens: Annotated[Whole, Field(ge=-1)] | None = None
    seed: Whole | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    top_k: Annotated[Whole, Field(ge=-1)] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    logit_bias: dict[Annotated[int, Field(ge=0)], Annotated[Number, Field(ge=-MAX_BIAS, le=MAX_BIAS)]] | None = None
    stop: Words | Annotated[list[Words], Field(max_length=MAX_STOPS)] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[Whole, Field(ge=0)] | None = None
    response_format: ResponseFormat | None = None
    modalities: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    user: UserName = None
    safety_identifier: UserName = None
    rjepa: RjepaOptions | None = None

    @property
    def limit(self) -> int | None:
        """Tokens that an answer may have at most; -1, as llama.cpp's users write it, is none."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def sampling(self) -> dict[str, Any]:
        """How tokens are drawn, by the names that a question has for it."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        values = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": 0 if self.top_k == -1 else self.top_k,  # vLLM's users write "all" as -1
            "min_p": self.min_p,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": self.logit_bias,
            "stop": tuple(stop for stop in stops if stop),  # an empty text, which some libraries send, stops nothing
            "top_logprobs": (self.top_logprobs or 0) if self.logprobs else None,
        }
        return {name: value for name, value in values.items() if value is not None}

    @property
    def offered_tools(self) -> tuple[dict[str, Any], ...]:
        """The tools that the student may read about."""
        return () if self.tool_choice == "none" else tuple(self.tools or ())

    def refuse(self) -> None:
        """Refuse what would give another answer than the one that is asked for.

        Raises:
            InvalidQuestionError: a form of the answer that cannot be promised.
        """
        if self.response_format is not None:
            refuse_format(self.response_format.type, "response_format")
        if self.modalities is not None and set(self.modalities) - {"text"}:
            raise InvalidQuestionError(
                "answers are text", cure='leave modalities out, or send ["text"]', field="modalities"
            )
        if self.tool_choice is not None and self.tool_choice not in ("none", "auto"):
            raise InvalidQuestionError(
                "the student calls no tools, so it cannot be made to", cure="leave tool_choice out", field="tool_choice"
            )


def refuse_format(kind: str, field: str) -> None:
    """Refuse a format of the answer's text that no one here can promise.

    Raises:
        InvalidQuestionError: anything but plain text.
    """
    if kind != "text":
        raise InvalidQuestionError(
            f"{field} {kind[:40]!r} cannot be kept: the student writes numbered steps, and nothing makes them JSON",
            cure=f"leave {field} out, and read steps and final_answer in the reply's rjepa field",
            field=field,
        )
