"""What the values of a stranger's row mean: nothing, a list that a library wrote as text, text that lost something.

Which column is which field is decided in `rjepa.problems.columns`, what a field may hold in `rjepa.problems.lines`; how
libraries write values into cells is in `rjepa.problems.cells`.
"""

import re
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
    for name in (*NEEDED, "steps"):
        value = values.get(name)
        try:
            if name == "steps":
                value = values[name] = _steps(value, is_text=is_text)
            elif isinstance(value, str):
                _check_text(value, name, is_text=is_text)
            for text in value if isinstance(value, list) else (value,):
                if isinstance(text, str):
                    check_backslashes(text)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return values


def _steps(value: Any, *, is_text: bool) -> Any:
    """A cell's steps as a list; other values stay, to be refused by their type."""
    if not isinstance(value, str):
        return value
    found = read_list(value)
    if found is None and not is_text:
        return value
    lines = _LINE_END.split(value) if found is None else found
    return [line for line in lines if line.strip()]


def _check_text(text: str, name: str, *, is_text: bool) -> None:
    check_is_value(text, is_text=is_text)
    if text.lstrip()[:1] in ("[", "{"):
        _refuse_list(text, name)


def _refuse_list(text: str, name: str) -> None:
    """Refuse a list that a text cell holds: a conversation as any field, a list of one text as an answer."""
    whole = nested(text)
    is_rows = isinstance(whole, list) and bool(whole) and isinstance(whole[0], dict)
    is_wrapped = name == "answer" and isinstance(whole, list) and len(whole) == 1 and isinstance(whole[0], str)
    if is_rows or is_wrapped:
        place = f"{name}=COLUMN.0.content" if is_rows else f"{name}=COLUMN.0"
        raise ValueError(f"a list written into a cell ({text.strip()[:40]!r}); name what in it, e.g. --map {place}")
