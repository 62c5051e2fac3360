"""Split a text at separators outside of all brackets. The parts are read in `rjepa.validation.reading`."""

import re
from typing import Final

from rjepa.validation.unreadable import UnreadableError

OPENING, CLOSING = "([{", ")]}"
_MAX_PARTS: Final = 200
_COMMA = re.compile(r"[,;]")
_THOUSANDS = re.compile(r"(?<![\w,.])[1-9]\d{0,2}(?:,\d{3})+(?![\d])(?!,\d)")


def split(text: str, separator: re.Pattern[str] | None = None) -> list[str]:
    """The parts of a text between separators outside of all brackets; without `separator` at commas and semicolons."""
    if separator is None:
        text, separator = with_thousands(text), _COMMA
    parts, start = [], 0
    for match in separator.finditer(text):
        if depth_at(text, match.start()) == 0:
            parts.append(text[start : match.start()])
            start = match.end()
    if len(parts) >= _MAX_PARTS:
        raise UnreadableError("too many parts")
    return [*parts, text[start:]]


def depth_at(text: str, stop: int) -> int:
    """How many brackets and environments are open before `stop`."""
    before = text[:stop]
    depth = len(re.findall(r"\\begin\s*\{", before)) - len(re.findall(r"\\end\s*\{", before))
    before = re.sub(r"\\begin\s*\{\w+\*?\}|\\end\s*\{\w+\*?\}", "", before)
    return depth + sum(before.count(one) for one in OPENING) - sum(before.count(one) for one in CLOSING)


def dips(inner: str) -> bool:
    """Whether a bracket closes in here that did not open here: `(1,2) and (3,4)` is not one tuple."""
    depth = 0
    for character in inner:
        depth += (character in OPENING) - (character in CLOSING)
        if depth < 0:
            return True
    return False


def with_thousands(text: str) -> str:
    """Thousands separators outside of brackets left out, so that the other commas part the answers."""
    if any(one in text for one in OPENING):
        return text
    return _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
