"""What a reply must look like to count: one JSON object of a known shape, or a student's `Step 1: ...` text.

A reply that says anything else, however persuasively, is refused with a reason that the teacher gets once. Where the
object is in a reply is `objects`' matter, what an endpoint's answer holds `completion`'s.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from rjepa.chains import ParsedChain, parse_chain, render_chain
from rjepa.teacher.completion import Reply
from rjepa.teacher.objects import NoObjectError, one_object, split_thinking

_LABEL: Final = re.compile(r"^Step\s+\d+\s*[:.]\s*", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Characters that no text means to hold: what stands there was a backslash and a letter, and something is lost."""
_SHOWN_ERRORS: Final = 4
_LONGEST_QUOTE: Final = 300


def _storable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair") from None
    if _CONTROL.search(text):
        raise ValueError("holds a control character: in JSON, write each backslash twice")
    return text.strip()


def _in_digits(value: object) -> object:
    """A number as the text of its digits: `"final_answer": 7` says what `"final_answer": "7"` says."""
    return str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


_Text = Annotated[str, AfterValidator(_storable)]
_Answer = Annotated[_Text, BeforeValidator(_in_digits), Field(min_length=1, max_length=500)]
_Line = Annotated[_Text, Field(min_length=1, max_length=2000)]


class ReplyError(ValueError):
    """A reply that does not count. The message is written for the teacher; `reason` for counting."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Structure(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ProblemReply(_Structure):
    """A problem that a teacher made up. Its answer is a claim until others agree."""

    statement: Annotated[_Text, Field(min_length=10, max_length=8000)]
    answer: _Answer


class ChainReply(_Structure):
    """A worked solution that reads back from its own text form as it is: no label of ours hides in it."""

    steps: Annotated[list[_Line], Field(min_length=1, max_length=64)]
    final_answer: _Answer

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


class LabelReply(_Structure):
    """Where a problem belongs in the syllabus."""

    subdomain: str
    notions: Annotated[list[str], Field(min_length=1, max_length=12)]


class JudgeReply(_Structure):
    """A teacher's opinion of a chain: a label that is kept beside it, and decides nothing."""

    verdict: Literal["right", "wrong", "unsure"]
    first_wrong_step: Annotated[int, Field(ge=1)] | None = None
    reason: Annotated[_Text, Field(max_length=1000)] = ""


Model = TypeVar("Model", bound=BaseModel)


def read_reply(reply: Reply, model: type[Model], *, steps_form: bool = False) -> Model:
    """Read a reply as `model`. `steps_form`: it is a chain in its text form.

    Raises:
        ReplyError: it does not count. Its `reason` is `cut_off`, `refused`, `content_filter`, `tool_calls`, `empty` or
            `only_thinking` where there is no text to read; `not_json`, `several_objects`, `ambiguous_escape` or
            `not_a_chain` where the text is not of the form; `wrong_schema` where its fields do not fit.
    """
    text = _text_of(reply)
    try:
        if steps_form:
            return model.model_validate(_steps_fields(split_thinking(text)[1]))
        return one_object(text, model.model_validate)
    except NoObjectError as error:
        if not reply.text.strip():
            raise ReplyError("only_thinking", "the reply is empty: the model thought and did not answer") from None
        raise ReplyError(error.reason, str(error)) from None
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc'])) or 'reply'}: {one['msg']}" for one in error.errors()]
        raise ReplyError("wrong_schema", "; ".join(wrong[:_SHOWN_ERRORS])) from None


def _text_of(reply: Reply) -> str:
    """What is to be read of a reply.

    Raises:
        ReplyError: it was broken off, or there is nothing, and why.
    """
    if reply.finish_reason in ("length", "max_tokens", "MAX_TOKENS"):
        thought = ", and thinking took it up" if reply.thinking and not reply.text.strip() else ""
        raise ReplyError("cut_off", f"the reply was cut off at the token limit{thought}: be shorter")
    if reply.refusal is not None:
        raise ReplyError("refused", f"the model refuses: {reply.refusal[:_LONGEST_QUOTE]}")
    if reply.finish_reason in ("content_filter", "safety", "SAFETY", "refusal"):
        shown = f": {reply.text[:_LONGEST_QUOTE]}" if reply.text.strip() else ""
        raise ReplyError("content_filter", f"the endpoint held the reply back ({reply.finish_reason}){shown}")
    if reply.text.strip():
        return reply.text
    if reply.calls_tools:
        raise ReplyError("tool_calls", "the reply calls a tool instead of answering: none was offered")
    if not reply.thinking:
        raise ReplyError("empty", f"the reply is empty (it ended with {reply.finish_reason or 'no reason'})")
    return f"<think>{reply.thinking}"


def _steps_fields(text: str) -> dict[str, Any]:
    parsed = parse_chain(text.strip())
    if not _LABEL.match(text.lstrip()) or parsed.final_answer is None:
        raise ReplyError("not_a_chain", "the reply has no 'Step 1:' line or no 'Answer:' line")
    return {"steps": parsed.steps, "final_answer": parsed.final_answer}
