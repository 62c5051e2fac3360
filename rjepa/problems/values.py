"""What the values of a stranger's row mean: nothing, a list that a library wrote as text, text that lost something.

Which column is which field is decided in `rjepa.problems.columns`, what a field may hold in `rjepa.problems.lines`; how
libraries write values into cells is in `rjepa.problems.cells`.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any, Final

from rjepa.problems.cells import check_backslashes, check_is_value, is_missing, nested, read_list
from rjepa.problems.columns import NEEDED

_LINE_END: Final = re.compile(r"\r\n|\r|\n")


def understood(values: dict[str, Any], *, is_text: bool) -> dict[str, Any]:
    """A stranger's values: optional fields that say nothing left out, and steps as a list.

    In a format of text cells (`is_text`), steps are a list that a library wrote into the cell, else the cell's lines.

    Raises:
        ValueError: a cell holds a library's word for no value where one is needed, a list that cannot be read, or LaTeX
            that lost its backslashes.
    """
    values = {name: value for name, value in values.items() if name in NEEDED or not is_missing(value)}
    steps = values.get("steps")
    if isinstance(steps, str):
        with _named("steps"):
            found = read_list(steps)
        if found is not None or is_text:
            lines = _LINE_END.split(steps) if found is None else found
            values["steps"] = [line for line in lines if line.strip()]
    for name in NEEDED:
        text = values.get(name)
        if isinstance(text, str):
            with _named(name):
                if is_text:
                    check_is_value(text)
                _refuse_list(text, name)
    for name in (*NEEDED, "steps"):
        with _named(name):
            for text in values[name] if isinstance(values.get(name), list) else [values.get(name)]:
                if isinstance(text, str):
                    check_backslashes(text)
    return values


def _refuse_list(text: str, name: str) -> None:
    """A statement that is a written-out conversation, or an answer that is a list of one text, is neither."""
    whole = nested(text) if text.strip()[:1] in ("[", "{") else text
    is_rows = isinstance(whole, list) and bool(whole) and isinstance(whole[0], dict)
    is_wrapped = name == "answer" and isinstance(whole, list) and len(whole) == 1 and isinstance(whole[0], str)
    if is_rows or is_wrapped:
        place = f"{name}=COLUMN.0.content" if is_rows else f"{name}=COLUMN.0"
        raise ValueError(f"a list written into a cell ({text.strip()[:40]!r}); name what in it, e.g. --map {place}")


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Put the field's name before a complaint."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
