"""What libraries write into a cell when its value is no plain text: nothing, a list, a number of some precision.

Here such values are read back, or refused with the reason; a value that could be read in two ways is refused. Which
field of a problem a value belongs to is decided in `rjepa.problems.importing` and `rjepa.problems.columns`.
"""

import ast
import json
import math
import re
import warnings
from decimal import Decimal
from typing import Any, Final

_NO_VALUE: Final = frozenset({"nan", "NaN", "NAN", "null", "NULL", "None", "<NA>", "NaT", "#N/A"})
"""How pandas, NumPy, SQL, Python and spreadsheets write that there is no value. None of it is an answer."""
_NEVER_A_VALUE: Final = _NO_VALUE - {"None", "null", "NULL"}
"""Words that mean no value in every file. `None` and `null` mean it in text files alone: in the others they may be an
answer in words, because a missing value has a sign of its own there."""
_PERHAPS_NO_VALUE: Final = _NO_VALUE | {"", "NA", "N/A", "n/a", "Null", "none"}
"""What means no value in an optional field."""

_LITERAL: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_ARRAY: Final = re.compile(r"(?:np\.|numpy\.)?array\((?P<items>.*?)(?:,\s*dtype=[^,]*)?\)", re.DOTALL)
_LIST_START: Final = re.compile(r"[\[(]\s*(?:['\"{\[]|[bu]['\"]|(?:np\.)?array\(|None\b|nan\b|\.\.\.)|\[\s*\]$")
_SHOWN: Final = 40
_MAX_DIGITS: Final = 40
"""Zeros that are written out, of a number with an exponent; beyond that the exponent stays."""

_LOST_BACKSLASH: Final = re.compile(
    r"\x0c(?:rac|orall|box|loor|lat)|\x08(?:eta|ar|inom|oxed|ig|egin|mod|ullet|ot|ecause)"
    r"|\t(?:imes|heta|ext|frac|riangle|herefore|ilde|binom|o\b)|\r(?:ight|angle|ho\b)|\n(?:eq|abla|otin|mid)\b"
)
"""What JSON makes of LaTeX whose backslashes were not doubled: `\\frac` becomes a form feed and "rac"."""


def is_missing(value: Any) -> bool:
    """Whether an optional field says nothing: null, NaN, blank, or a library's word for it."""
    if value is None or (isinstance(value, str) and value.strip() in _PERHAPS_NO_VALUE):
        return True
    return isinstance(value, float | Decimal) and math.isnan(value)


def check_is_value(text: str, *, is_text: bool) -> None:
    """Refuse a cell that holds a library's word for no value where a value is needed.

    Args:
        text: the cell.
        is_text: its file holds texts only (CSV, TSV), so that such a word is the one way to leave a value out.

    Raises:
        ValueError: it does.
    """
    if text.strip() in (_NO_VALUE if is_text else _NEVER_A_VALUE):
        raise ValueError(f"missing (the cell holds {text.strip()!r}, which is how libraries write that there is none)")


def check_backslashes(text: str) -> None:
    r"""Refuse text in which LaTeX lost its backslashes: "\frac" that was read as a form feed and "rac".

    Raises:
        ValueError: it did.
    """
    found = None if text.isprintable() else _LOST_BACKSLASH.search(text)
    if found is not None:
        raise ValueError(
            f"LaTeX with single backslashes in JSON ({found.group()!r}): write each backslash of a formula twice"
        )


def number_text(value: float | Decimal) -> str:
    """A number as its owner would write it: the shortest decimal, whole numbers without a point.

    Raises:
        ValueError: it is not finite.
    """
    if not math.isfinite(value):
        raise ValueError("is not a finite number")
    if isinstance(value, float) and not value.is_integer():
        return str(value)
    exact = Decimal(repr(value)) if isinstance(value, float) else value
    if exact == 0:
        return "0"
    if abs(exact.adjusted()) > _MAX_DIGITS:
        return str(exact)
    written = format(exact, "f")
    return written.rstrip("0").rstrip(".") if "." in written else written


def exact_float(text: str) -> float | Decimal:
    """A JSON number with a point or exponent: a float if that keeps it, else a decimal with all its digits."""
    found = float(text)
    if math.isinf(found) or Decimal(repr(found)) == Decimal(text):
        return found
    return Decimal(text)


def read_list(text: str) -> list[str] | None:
    """The texts of a list that was written into a cell by JSON, Python, NumPy or pandas; None for text that is no list.

    Raises:
        ValueError: it is a list and cannot be read: of other things than texts, cut short, or damaged.
    """
    stripped = text.strip()
    array = _ARRAY.fullmatch(stripped)
    inner = array["items"].strip() if array is not None else stripped
    if array is not None and not inner.startswith("["):
        return None
    if inner.startswith("{"):
        _refuse_braces(inner)
        return None
    if inner[:1] + inner[-1:] not in ("[]", "()"):
        if inner.startswith(("['", '["')):
            raise ValueError(f"begins like a list and does not end like one: {_shown(inner)}")
        return None
    found = _json_list(inner)
    if found is not None:
        return found
    return _literals(inner) if array is not None or _LIST_START.match(inner) else None


def nested(text: str) -> Any:
    """The object or list that a text cell holds as JSON or as Python writes it; the text itself if it holds neither."""
    stripped = text.strip()
    if stripped[:1] + stripped[-1:] not in ("[]", "{}"):
        return text
    try:
        return json.loads(stripped, parse_float=exact_float)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = ast.literal_eval(stripped)
    except (ValueError, SyntaxError, SyntaxWarning, MemoryError, RecursionError):
        return text
    is_joined = isinstance(found, list) and len(found) != len(read_or_none(stripped) or found)
    return text if is_joined else found


def read_or_none(text: str) -> list[str] | None:
    """`read_list`, and None as well for a list that it refuses."""
    try:
        return read_list(text)
    except ValueError:
        return None


def _json_list(text: str) -> list[str] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list):
        return None
    for item in found:
        if not isinstance(item, str):
            raise ValueError(f"a list written into a cell holds something else than texts ({_shown(json.dumps(item))})")
    return found


def _literals(text: str) -> list[str]:
    """Items of `['a', 'b']`, or of NumPy's `['a' 'b']`: never both, for Python joins texts that stand side by side."""
    items, separators, place = [], [], 1
    while (literal := _LITERAL.match(text, place + _blanks(text, place))) is not None:
        separators.append(text[place : literal.start()].strip())
        items.append(_literal(literal.group()))
        place = literal.end()
        comma = re.compile(r"\s*,").match(text, place)
        if comma is not None:
            separators.append(",")
            place = comma.end()
    rest = text[place:-1].strip()
    commas = separators.count(",")
    if rest or any(found not in ("", ",") for found in separators) or commas not in (0, len(items), len(items) - 1):
        what = "was cut short when it was written" if "..." in rest else "cannot be read"
        raise ValueError(f"a list written into a cell {what}: {_shown(rest or text)}")
    return items


def _blanks(text: str, place: int) -> int:
    rest = text[place:]
    return len(rest) - len(rest.lstrip())


def _literal(text: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return str(ast.literal_eval(text.replace("\n", "\\n")))
    except (SyntaxError, ValueError, SyntaxWarning):
        raise ValueError(f"a list written into a cell holds a text that cannot be read: {_shown(text)}") from None


def _refuse_braces(text: str) -> None:
    found = nested(text)
    if isinstance(found, set):
        raise ValueError(f"a set written into a cell, which has no order: {_shown(text)}")
    if isinstance(found, dict):
        keys = ", ".join(map(repr, list(found)[:3]))
        raise ValueError(f"an object written into a cell (with {keys}), not a list of texts")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
