"""Chat templates: where the folder of a model keeps one, and whether it writes the same prompt every day.

What is put into a template belongs to `rjepa.students.prompts`. Templates are jinja, run in transformers' sandbox.
"""

import datetime
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, TemplateError, TemplateSyntaxError, nodes

from rjepa.errors import InvalidInputError

TEMPLATE_FILES: Final = ("chat_template.jinja", "chat_template.json")
"""Files that hold nothing but chat templates; tokenizer_config.json may hold one too."""

TEMPLATE_FOLDER: Final = "additional_chat_templates"
"""Folder of further templates by name, `default.jinja` among them."""

FAULTS: Final = (TemplateError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)
"""What rendering raises: a template is somebody's program, and whatever it stumbles over is its fault."""

_RANDOM_FILTER: Final = "random"
_RANDOM_FUNCTION: Final = "lipsum"
"""The two things in jinja that draw at random."""

_CLOCK: Final = "strftime_now"
_DATES: Final = "rjepa_dates"
_FIXED_CLOCK: Final = (
    f"{{% macro {_CLOCK}(format) %}}"
    f"{{{{ {_DATES}[format] if format in {_DATES} else "
    "raise_exception('it asks for the date in a layout that it does not spell out') }}"
    "{% endmacro %}\n"
)
"""transformers leaves the line's end out after a block, so that nothing is written before the text. The argument's name
is that of its own function."""

Template = str | dict[str, str]
"""One template, or several by name, of which `default` is used."""


def read_template(folder: Path) -> Template | None:
    """The chat template of a folder in Hugging Face layout, wherever it lies; None where there is none.

    A file of its own goes before tokenizer_config.json, as in transformers; chat_template.json, which processors of
    models that see images write, comes last.
    """
    own = folder / TEMPLATE_FILES[0]
    if own.is_file():
        return own.read_text(encoding="utf-8")
    further = folder / TEMPLATE_FOLDER / "default.jinja"
    if further.is_file():
        return further.read_text(encoding="utf-8")
    for name in ("tokenizer_config.json", TEMPLATE_FILES[1]):
        template = _template_of(read_object(folder / name).get("chat_template"))
        if template:
            return template
    return None


def check_repeatable(template: Template) -> None:
    """Refuse a template that draws at random: latents are bound to a prompt that has to be the same each time. Today's
    date is no such thing: `PromptFormat.date` is read in its place.

    Raises:
        InvalidInputError: the template draws at random, or is no jinja.
    """
    for text in template.values() if isinstance(template, dict) else [template]:
        _check_text(text)


def variables(text: str) -> frozenset[str]:
    """Names that a template reads or writes.

    Raises:
        InvalidInputError: it is no jinja.
    """
    return frozenset(node.name for node in _parsed(text).find_all(nodes.Name))


def with_fixed_date(text: str, date: datetime.date) -> tuple[str, dict[str, Any]]:
    """A template that reads `date` wherever it asks for now, and the variables that it then needs.

    transformers hands a template its own strftime_now, and no function of ours: a macro of the same name is put before
    the text, which looks the date up by its layout. All layouts that the text names are written out here.
    """
    if _CLOCK not in text:
        return text, {}
    layouts = {node.value for node in _parsed(text).find_all(nodes.Const) if isinstance(node.value, str)}
    return _FIXED_CLOCK + text, {_DATES: {layout: date.strftime(layout) for layout in layouts if "%" in layout}}


@functools.lru_cache(maxsize=64)
def _check_text(text: str) -> None:
    tree = _parsed(text)
    names = {node.name for node in tree.find_all(nodes.Name)}
    filters = {node.name for node in tree.find_all(nodes.Filter)}
    words = {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    by_name = "map" in filters and _RANDOM_FILTER in words  # map("random") names its filter in a string
    if _RANDOM_FUNCTION in names or _RANDOM_FILTER in filters or by_name:
        raise InvalidInputError(
            "the chat template draws at random, so that a problem would have another prompt each time",
            cure="take the random part out of the template, in chat_template.jinja or tokenizer_config.json",
        )


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> nodes.Template:
    try:
        return Environment(extensions=["jinja2.ext.loopcontrols"]).parse(_without_generation(text))
    except TemplateSyntaxError as error:
        raise InvalidInputError(
            f"the chat template is no jinja: {error}", cure="mend it in chat_template.jinja or tokenizer_config.json"
        ) from error


def _without_generation(text: str) -> str:
    """The text without transformers' own tag around what a model writes, which plain jinja does not know."""
    for mark in ("generation", "endgeneration"):
        for left in ("{%-", "{%"):
            for right in ("-%}", "%}"):
                text = text.replace(f"{left} {mark} {right}", "")
    return text


def _template_of(value: Any) -> Template | None:
    """A template as JSON files hold it: text, or a list of named ones."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, list):
        return {one["name"]: one["template"] for one in value if isinstance(one, Mapping) and "template" in one} or None
    return dict(value) or None if isinstance(value, Mapping) else None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model's folder; an empty one where there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
