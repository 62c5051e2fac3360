"""Prompts from `configs/teacher/prompts.yaml`: strict templates, and a fence around everything that others wrote.

A template names its variables plainly. Whatever text it shows is fenced by the environment itself, unless it is one of
our own words (`Trusted`), so that no template can forget to. The fence's mark is drawn from the text and does not occur
in it: nothing inside can close it.
"""

import hashlib
from functools import cache
from typing import Any, Final

from jinja2 import StrictUndefined, Template, TemplateError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field

from rjepa.configs import CONFIGS, load_config
from rjepa.errors import InvalidInputError
from rjepa.teacher.calls import Message

_MARK_LENGTH: Final = 12


class PromptTemplates(BaseModel):
    """The system message and the question for the endpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str = ""
    user: str = Field(min_length=1)


class Prompts(BaseModel):
    """Every prompt of the teachers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problem: PromptTemplates
    chain: PromptTemplates
    label: PromptTemplates
    judge: PromptTemplates
    ask_again: str

    def messages(self, name: str, **values: Any) -> tuple[Message, ...]:
        """The messages of one prompt. Numbers and `Trusted` words are shown plainly, all else inside a fence.

        Raises:
            InvalidInputError: the template wants a variable that it is not given, or does what a template may not.
        """
        templates: PromptTemplates = getattr(self, name)
        messages = [
            {"role": role, "content": render(text, f"{name}.{role}", values)}
            for role, text in (("system", templates.system), ("user", templates.user))
            if text
        ]
        return tuple(messages)


class Trusted(str):
    """A word of our own (a domain, a difficulty, a list from the syllabus): shown without a fence."""


@cache
def load_prompts() -> Prompts:
    """The repository's prompts."""
    return load_config(CONFIGS / "teacher" / "prompts.yaml", Prompts)


def render(template: str, name: str, values: dict[str, Any]) -> str:
    """Fill one template in.

    Raises:
        InvalidInputError: the template is broken or uses a variable that it is not given.
    """
    try:
        return _compiled(template).render(values)
    except TemplateError as error:
        raise InvalidInputError(
            f"the prompt {name} cannot be filled in ({error})", cure="mend it in configs/teacher/prompts.yaml"
        ) from error


@cache
def _compiled(template: str) -> Template:
    return _ENVIRONMENT.from_string(template)


def fence(text: str) -> str:
    """Text between two marks that it does not hold."""
    mark = _mark(text)
    return f"<<<DATA {mark}\n{text}\nDATA {mark}>>>"


def _mark(text: str) -> str:
    """Letters that follow from the text, so that equal prompts stay equal, and that the text does not hold."""
    tries = 0
    while True:
        mark = hashlib.sha256(f"{tries}/{text}".encode("utf-8", "replace")).hexdigest()[:_MARK_LENGTH]
        if mark not in text:
            return mark
        tries += 1


def _shown(value: Any) -> Any:
    if isinstance(value, Trusted | int | float | Undefined):
        return value
    return fence(str(value))


_ENVIRONMENT: Final = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, finalize=_shown
)
