"""What a reply must look like to count: one JSON object of a known shape, or a student's `Step 1: ...` text.

A reply that says anything else, however persuasively, is refused with a reason that the teacher is told once.
"""

import json
import re
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rjepa.chains import ParsedChain, parse_chain, render_chain

_FENCE: Final = re.compile(r"^```(?:json)?\s*\n(.*)\n```$", re.DOTALL)
_LABEL: Final = re.compile(r"^Step\s+\d+\s*[:.]\s*", re.IGNORECASE)
_SHOWN_ERRORS: Final = 4


def _storable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair") from None
    if "\x00" in text:
        raise ValueError("holds a NUL character")
    return text.strip()


_Text = Annotated[str, AfterValidator(_storable)]
_Line = Annotated[_Text, Field(min_length=1, max_length=2000)]


class ReplyError(ValueError):
    """A reply that does not count. The message is written for the teacher; `reason` for counting."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ProblemReply(_Reply):
    """A problem that a teacher made up. Its answer is a claim until others agree."""

    statement: Annotated[_Text, Field(min_length=10, max_length=8000)]
    answer: Annotated[_Text, Field(min_length=1, max_length=500)]


class ChainReply(_Reply):
    """A worked solution that reads back from its own text form as it is: no label of ours hides in it."""

    steps: Annotated[list[_Line], Field(min_length=1, max_length=64)]
    final_answer: Annotated[_Text, Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _reads_back(self) -> Self:
        if "\n" in self.final_answer or "\r" in self.final_answer:
            raise ValueError("final_answer has to be one line")
        if parse_chain(render_chain(self.plain().steps, self.final_answer)) != self.plain():
            raise ValueError("a step or the final answer holds a label like 'Step 2:' or 'Answer:', or is empty")
        return self

    def plain(self) -> ParsedChain:
        """Steps on one line each, without a label of their own; the answer without its full stop."""
        steps = [" ".join(_LABEL.sub("", step).split()) for step in self.steps]
        return ParsedChain(steps, " ".join(self.final_answer.split()).rstrip(".") or None)


class LabelReply(_Reply):
    """Where a problem belongs in the syllabus."""

    subdomain: str
    notions: Annotated[list[str], Field(min_length=1, max_length=12)]


class JudgeReply(_Reply):
    """A teacher's opinion of a chain: a label that is kept beside it, and decides nothing."""

    verdict: Literal["right", "wrong", "unsure"]
    first_wrong_step: Annotated[int, Field(ge=1)] | None = None
    reason: Annotated[_Text, Field(max_length=1000)] = ""


Model = TypeVar("Model", bound=BaseModel)


def read_reply(text: str, model: type[Model], *, finish_reason: str | None, steps_form: bool = False) -> Model:
    """Read a reply as `model`. `steps_form`: it is a chain in its text form.

    Raises:
        ReplyError: it was cut off (`cut_off`), is not one JSON object (`not_json`) or does not fit (`wrong_schema`).
    """
    if finish_reason == "length":
        raise ReplyError("cut_off", "the reply was cut off at the token limit: be shorter")
    fields = _steps_fields(text) if steps_form else _json_object(text)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc'])) or 'reply'}: {one['msg']}" for one in error.errors()]
        raise ReplyError("wrong_schema", "; ".join(wrong[:_SHOWN_ERRORS])) from None


def _json_object(text: str) -> dict[str, Any]:
    text = text.strip()
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced.group(1) if fenced else text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise ReplyError("not_json", f"the reply is not one JSON object ({str(error)[:200]})") from None
    if not isinstance(value, dict):
        raise ReplyError("not_json", "the reply is JSON, but no object")
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _steps_fields(text: str) -> dict[str, Any]:
    parsed = parse_chain(text)
    if not _LABEL.match(text.lstrip()) or parsed.final_answer is None:
        raise ReplyError("not_a_chain", "the reply has no 'Step 1:' line or no 'Answer:' line")
    return {"steps": parsed.steps, "final_answer": parsed.final_answer}
