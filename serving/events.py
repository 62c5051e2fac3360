"""What happens while a question is answered, as JSON: any event of `rjepa.reasoning.events`, whatever its fields.

An event's `type` is its class's name in small letters (`StepWritten` -> `step_written`). A new kind of event needs no
line here.
"""

import functools
import re
from typing import Any, Final

from pydantic import TypeAdapter

from rjepa.reasoning.events import Done, Event, StepWritten, Text, Working

_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def text_of(event: Event) -> str | None:
    """What an event adds to the answer's text; None where it tells of something else."""
    return event.text if isinstance(event, Text | StepWritten) else None


def event_value(event: Event) -> dict[str, Any] | None:
    """An event as a JSON object with its `type`; None for those that a reply tells in its own way."""
    if isinstance(event, Working | Text | Done):
        return None
    kind: Any = type(event)
    fields: dict[str, Any] = _adapter(kind).dump_python(event, mode="json")
    return {"type": event_type(kind)} | fields


def event_type(kind: type[Any]) -> str:
    """The name of a kind of event in a reply."""
    return _WORD.sub("_", kind.__name__).lower()


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
