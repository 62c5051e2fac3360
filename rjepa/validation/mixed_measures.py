"""Answers of several numbers: an amount in several units (`2 hours 30 minutes`), a quotient and remainder (`7 R 2`)."""

import re

from rjepa.validation.units import read_unit

_REMAINDER = re.compile(
    r"(\d{1,30})\s*(?:,|with|and)?\s*(?:a\s+)?(?:R|r|[Rr]em\.?|[Rr]emainder)\s*(?:of|:|=)?\s*(\d{1,30})"
)
_MEASURE = re.compile(r"(?:^|\s+|,\s*)(?:and\s+)?(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[^\W\d_]+)\.?(?=$|[\s,])")


def quotient_and_remainder(text: str) -> tuple[str, str] | None:
    """The two numbers of `7 R 2`, also as `7 remainder 2`; None for other texts."""
    match = _REMAINDER.fullmatch(text)
    return None if match is None else (match[1], match[2])


def measures_of(text: str) -> list[str]:
    """`2 hours 30 minutes` as `["2 hours", "30 minutes"]`; empty for a text that is no amount in several units."""
    pieces = [match.group("number", "unit") for match in _MEASURE.finditer(text)]
    if len(pieces) < 2 or _MEASURE.sub("", text).strip():
        return []
    units = [read_unit(unit) for _, unit in pieces]
    known = {unit.key for unit in units if unit is not None and unit.factors}
    return [f"{number} {unit}" for number, unit in pieces] if len(known) == len(pieces) else []
