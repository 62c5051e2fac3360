"""A question: what is asked, by which mode, with which options, from which seed, within which limits.

Made once, from a request's body, the command line or the evaluation, and frozen. The options of a mode are declared in
its own file; what a release and a student can do is checked by `rjepa.engine`.
"""

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Annotated, Any, Final, Literal, TypedDict, Unpack

from pydantic import Field, SerializeAsAny, ValidationError, field_validator

from rjepa.errors import InvalidInputError
from rjepa.files import sha256_json
from rjepa.students.rules import MAX_BIAS, MAX_PENALTY, MAX_STOPS, MAX_TOP_LOGPROBS, TokenRules
from rjepa.values import FrozenValue

MAX_TEMPERATURE: Final = 2.0
"""OpenAI's limit. Beyond it samples of any model here are noise."""

MAX_SEED: Final = 2**53
"""Whole numbers below are exact in JavaScript too, and so survive a round trip through any client."""

_SHOWN: Final = 100
"""Characters of a value that is refused: enough to recognise it."""

TokenId = Annotated[int, Field(ge=0)]
TokenBias = Annotated[float, Field(ge=-MAX_BIAS, le=MAX_BIAS)]

Role = Literal["system", "developer", "user", "assistant", "tool"]


class InvalidQuestionError(InvalidInputError):
    """A question that cannot be asked. `field` names what is wrong with it: `options.NAME` for an option of a mode."""

    def __init__(self, problem: str, *, cure: str, field: str) -> None:
        super().__init__(problem, cure=cure)
        self.field = field


class Message(FrozenValue):
    """One turn of a conversation."""

    role: Role
    content: str


def hash_messages(messages: Sequence[Message]) -> str:
    """SHA-256 that stands for a conversation, in hex: of its messages as JSON, keys sorted, without spaces."""
    return sha256_json([message.model_dump(mode="json") for message in messages])


class ModeOptions(FrozenValue):
    """The options of a mode. Each mode has a class of its own, with a description for every field."""

    budget: int | None = Field(None, ge=1, description="tokens generated at most, over all candidates; none: no limit")

    @property
    def rows(self) -> int:
        """Chains that are written at a time, about."""
        return 1


class Drawing(TypedDict, total=False):
    """How a question's tokens are drawn, beside its temperature: what `ask` takes. `rjepa.students.rules` says more."""

    top_p: float | None
    top_k: int | None
    min_p: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[int, float] | None
    stop: Sequence[str] | None
    top_logprobs: int | None


class Question(FrozenValue):
    """One question, checked as far as that needs no model. `ask` makes it."""

    messages: tuple[Message, ...] = Field(min_length=1)
    mode: str
    options: SerializeAsAny[ModeOptions]
    temperature: float | None = Field(
        None, ge=0, le=MAX_TEMPERATURE, description="0 is greedy; the mode's own choice if left out"
    )
    max_tokens: int | None = Field(
        None, ge=1, description="tokens of a chain at most; the student's own limit if left out"
    )
    seed: int = Field(0, ge=0, lt=MAX_SEED, description="equal seeds give equal answers")
    top_p: float = Field(1.0, ge=0, le=1, description="the share of the probability that tokens are drawn from")
    top_k: int = Field(0, ge=0, description="how many tokens are drawn from at most; 0 for all")
    min_p: float = Field(0.0, ge=0, le=1, description="the least probability, as a share of the most probable token's")
    presence_penalty: float = Field(
        0.0, ge=-MAX_PENALTY, le=MAX_PENALTY, description="taken from the logit of a token that is there already"
    )
    frequency_penalty: float = Field(
        0.0, ge=-MAX_PENALTY, le=MAX_PENALTY, description="taken from a token's logit for each time that it is there"
    )
    logit_bias: tuple[tuple[TokenId, TokenBias], ...] = Field(
        (), description=f"-{MAX_BIAS:.0f} to {MAX_BIAS:.0f} for each token id of the student that it names"
    )
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), max_length=MAX_STOPS, description="a chain's text ends before the first of these"
    )
    top_logprobs: int | None = Field(
        None, ge=0, le=MAX_TOP_LOGPROBS, description="note every token's log-probability, and so many alternatives"
    )

    @field_validator("logit_bias")
    @classmethod
    def _by_token(cls, bias: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
        return tuple(sorted(dict(bias).items()))

    tools: tuple[dict[str, Any], ...] = Field(
        (), description="functions as OpenAI describes them; a chat template that knows tools writes them down"
    )

    @property
    def rules(self) -> TokenRules:
        """How the tokens of its chains are drawn."""
        return TokenRules(**{name: getattr(self, name) for name in Drawing.__annotations__})

    @property
    def statement(self) -> str:
        """The last user message: the problem."""
        return next(message.content for message in reversed(self.messages) if message.role == "user")


def ask(
    messages: str | Sequence[Message],
    mode: str = "rerank",
    options: Mapping[str, Any] | None = None,
    *,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int = 0,
    tools: Sequence[dict[str, Any]] = (),
    strict: bool = False,
    **drawing: Unpack[Drawing],
) -> Question:
    """Make a question.

    Args:
        messages: a conversation, or the statement of a problem.
        mode: one of `rjepa.reasoning.modes.MODES`.
        options: of the mode, by name; None is the default of each. Those that only other modes know are left out.
        tools: functions that the student may read about, where its chat template knows them.
        strict: whether a number has to be one: from a command line all values come as text.
        drawing: how tokens are drawn; None is the default of each.

    Raises:
        InvalidQuestionError: an unknown mode or option, a value out of range, or a problem without words.
    """
    from rjepa.reasoning.modes import MODES, find_mode

    known = find_mode(mode)
    turns = (Message(role="user", content=messages),) if isinstance(messages, str) else tuple(messages)
    asked = [message.content for message in turns if message.role == "user"]
    if not asked:
        raise InvalidQuestionError(
            "messages hold none with role user", cure="add the question as a user message", field="messages"
        )
    if not asked[-1].strip():
        raise InvalidQuestionError(
            "the problem is empty", cure="write the problem to solve as the last user message", field="messages"
        )
    # Clients send one set of options whatever the mode: those of other modes are left out.
    foreign = {name for other in MODES.values() for name in other.options.model_fields} - {*known.options.model_fields}
    given = {name: value for name, value in (options or {}).items() if value is not None and name not in foreign}
    try:
        question = Question(
            messages=turns,
            mode=mode,
            options=known.options.model_validate(given, strict=strict),
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
            tools=tuple(tools),
            **_drawn(drawing),
        )
    except ValidationError as error:
        raise _explained(error, mode, known.options) from error
    known.check(question)
    return question


def _drawn(drawing: Drawing) -> dict[str, Any]:
    given = {name: value for name, value in drawing.items() if value is not None}
    bias = drawing.get("logit_bias")
    return given | ({} if bias is None else {"logit_bias": tuple(bias.items())})


def _explained(error: ValidationError, mode: str, options: type[ModeOptions]) -> InvalidQuestionError:
    first = error.errors(include_url=False)[0]
    # Of a field that takes values of several kinds, the kind stands behind its name.
    name = ".".join(str(part) for place, part in enumerate(first["loc"]) if place == 0 or isinstance(part, int))
    is_option = error.title == options.__name__
    where = f"options.{name}" if is_option else name
    if first["type"] == "extra_forbidden":
        known = ", ".join(options.model_fields) or "none"
        return InvalidQuestionError(
            f"mode {mode} has no option {name!r}", cure=f"leave it out; its options: {known}", field=where
        )
    field = (options if is_option else Question).model_fields.get(str(first["loc"][0]))
    meaning = f"; {first['loc'][0]} is {field.description}" if field is not None and field.description else ""
    cure = f"{first['msg'].lower().removeprefix('input ')}{meaning}"
    given = shorten(repr(first["input"]), _SHOWN, placeholder="...")
    return InvalidQuestionError(f"{name} {given} cannot be used", cure=cure, field=where)
