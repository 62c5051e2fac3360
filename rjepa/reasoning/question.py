"""A question: what is asked, by which mode, with which options, from which seed, within which limits.

Made once, from a request's body, the command line or the evaluation, and frozen. The options of a mode are declared in
its own file; what a release and a student can do is checked by `rjepa.engine`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import Field, SerializeAsAny, ValidationError

from rjepa.errors import InvalidInputError
from rjepa.values import FrozenValue

MAX_TEMPERATURE: Final = 2.0
"""OpenAI's limit. Beyond it samples of any model here are noise."""

MAX_SEED: Final = 2**53
"""Whole numbers below are exact in JavaScript too, and so survive a round trip through any client."""

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


class ModeOptions(FrozenValue):
    """The options of a mode. Each mode has a class of its own, with a description for every field."""

    budget: int | None = Field(None, ge=1, description="tokens generated at most, over all candidates; none: no limit")


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
    strict: bool = False,
) -> Question:
    """Make a question.

    Args:
        messages: a conversation, or the statement of a problem.
        mode: one of `rjepa.reasoning.modes.MODES`.
        options: of the mode, by name; None is the default of each. Those that only other modes know are left out.
        strict: whether a number has to be one: from a command line all values come as text.

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
        )
    except ValidationError as error:
        raise _explained(error, mode, known.options) from error
    known.check(question)
    return question


def _explained(error: ValidationError, mode: str, options: type[ModeOptions]) -> InvalidQuestionError:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    is_option = error.title == options.__name__
    where = f"options.{name}" if is_option else name
    if first["type"] == "extra_forbidden":
        known = ", ".join(options.model_fields) or "none"
        return InvalidQuestionError(
            f"mode {mode} has no option {name!r}", cure=f"leave it out; its options: {known}", field=where
        )
    field = (options if is_option else Question).model_fields.get(name)
    meaning = f"; {name} is {field.description}" if field is not None and field.description else ""
    cure = f"{first['msg'].lower().removeprefix('input ')}{meaning}"
    return InvalidQuestionError(f"{name} {first['input']!r} cannot be used", cure=cure, field=where)
