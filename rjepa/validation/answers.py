"""Whether two final answers say the same: as numbers where both are numbers, else as text. The one reading of numbers.

Reads `1,234`, `1.234,5`, `1 234`, `$5`, `20%`, `3/4`, `1 1/2`, `½`, `−7`, `٣`, `36.0`, `1.5e3`, `12 apples`. Nothing is
evaluated: an answer like `9**9**9**9` is text. Equivalence of formulas is decided in `rjepa.validation.maths`.
"""

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

_MAX_NUMBER = 200  # characters; longer texts are no final number and are compared as text
_MAX_EXPONENT = 400
_FLOAT_NOISE = Fraction(1, 10**9)

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_NUMBER = re.compile(
    r"^(?P<sign>[+-]?)\s*(?P<currency>[$€£¥₹]?)\s*(?P<sign2>[+-]?)"
    rf"(?:(?P<whole>\d+)\s+(?P<top>\d+)\s*/\s*(?P<bottom>\d+)"
    rf"|(?P<over>{_DECIMAL})\s*/\s*(?P<under>{_DECIMAL})"
    r"|(?P<spaced>\d{1,3}(?: \d{3})+(?:[.,]\d+)?)"
    r"|(?P<dotted>\d{1,3}(?:\.\d{3})+,\d+)"
    r"|(?P<comma>\d+,(?:\d{1,2}|\d{4,}))"
    rf"|(?P<plain>{_DECIMAL}))"
    r"\s*(?P<percent>%|(?:percent|per cent|pct)\b)?\s*(?P<unit>[^\d\s](?:[^\d]{0,60}(?:\^?[23])?)?)?$"
)
_NOT_A_UNIT = re.compile(r"[=*<>(){}\[\]|\\+]|^[xyz]\b|\b(or|and|to)\b")
_CURRENCY_UNITS = {"dollar": "$", "dollars": "$", "usd": "$", "euro": "€", "euros": "€", "eur": "€", "pounds": "£"}
_DEGREES = {"degree": "°", "degrees": "°", "deg": "°"}
_SIGNS = str.maketrans(dict(zip("−–﹣－＋⁄∕，．％", "----+//,.%", strict=True)))


@dataclass(frozen=True)
class _Quantity:
    number: Fraction
    percent: bool
    unit: str


def answers_match(gold: str, given: str) -> bool:
    """Whether `given` says the same as `gold`. A unit or currency on one side only is ignored; two must agree."""
    gold, given = _tidy(gold), _tidy(given)
    if gold == given:
        return gold != ""
    expected, found = _quantity(gold), _quantity(given)
    if expected is None or found is None:
        return gold.casefold() == given.casefold() != ""
    if expected.unit and found.unit and expected.unit != found.unit:
        return False
    scales = [Fraction(1)]
    if expected.percent != found.percent:  # `20%` answers both "what per cent" (20) and "what share" (0.2)
        scales.append(Fraction(1, 100) if found.percent else Fraction(100))
    return any(_same(expected.number, found.number * scale) for scale in scales)


def are_numbers(gold: str, given: str) -> bool:
    """Whether both can be read as numbers here, so that what `answers_match` says of them is final."""
    return _quantity(_tidy(gold)) is not None and _quantity(_tidy(given)) is not None


def answer_key(answer: str | None) -> str | None:
    """The form under which answers are counted as the same: case, spaces and the spelling of numbers do not matter.

    `" 1,200.0 "` and `"$1200"` are one answer, so are `"1/2"` and `"0.5"`. Unlike `answers_match` this is an
    equivalence: a number with a unit or a per cent sign is an answer of its own. None for a missing or empty answer.
    """
    text = "" if answer is None else _tidy(answer)
    if not text.strip(". "):
        return None
    found = _quantity(text)
    if found is None or found.percent or found.unit not in ("", "$"):
        return text.casefold()
    return _decimal_text(found.number) or f"{found.number.numerator}/{found.number.denominator}"


def _tidy(answer: str) -> str:
    """One space for any white space, plain digits and signs, no full stop at the end."""
    spelled = (_plain_character(character) for character in answer.translate(_SIGNS))
    return " ".join("".join(spelled).split()).rstrip(". ") or answer.strip()


def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if unicodedata.decomposition(character).startswith("<fraction>"):
        return f" {unicodedata.normalize('NFKC', character).replace('⁄', '/')}"
    return unicodedata.normalize("NFC", character)


def _quantity(text: str) -> _Quantity | None:
    if not text or len(text) > _MAX_NUMBER:
        return None
    match = _NUMBER.match(text)
    if match is None or (match["sign"] and match["sign2"]):
        return None
    unit = (match["unit"] or "").strip().casefold()
    if _NOT_A_UNIT.search(unit) or (unit and not (unit[0].isalpha() or unit[0] in "°$€£¥₹")):
        return None
    number = _number(match)
    if number is None:
        return None
    negative = "-" in (match["sign"], match["sign2"])
    unit = match["currency"] or _CURRENCY_UNITS.get(unit, _DEGREES.get(unit, unit))
    return _Quantity(-number if negative else number, match["percent"] is not None, _singular(unit))


def _number(match: re.Match[str]) -> Fraction | None:
    if match["whole"] is not None:
        bottom = int(match["bottom"])
        return int(match["whole"]) + Fraction(int(match["top"]), bottom) if bottom else None
    if match["over"] is not None:
        over, under = _decimal(match["over"]), _decimal(match["under"])
        return over / under if over is not None and under else None
    if match["spaced"] is not None:
        return _decimal(match["spaced"].replace(" ", "").replace(",", "."))
    if match["dotted"] is not None:
        return _decimal(match["dotted"].replace(".", "").replace(",", "."))
    return _decimal(match["comma"].replace(",", ".") if match["comma"] else match["plain"])


def _decimal(text: str) -> Fraction | None:
    mantissa, _, exponent = text.replace(",", "").lower().partition("e")
    if exponent and abs(int(exponent)) > _MAX_EXPONENT:
        return None
    return Fraction(mantissa.rstrip(".")) * Fraction(10) ** int(exponent or 0)


def _decimal_text(number: Fraction) -> str | None:
    """`number` written out in full, None where its decimals do not end (or go on past any sensible length)."""
    left, twos, fives = number.denominator, 0, 0
    while left % 2 == 0:
        left, twos = left // 2, twos + 1
    while left % 5 == 0:
        left, fives = left // 5, fives + 1
    places = max(twos, fives)
    if left != 1 or places > _MAX_NUMBER:
        return None
    digits = str(abs(number.numerator) * 10**places // number.denominator).zfill(places + 1)
    whole, part = (digits[:-places], digits[-places:]) if places else (digits, "")
    return ("-" if number < 0 else "") + whole + (f".{part}" if part else "")


def _singular(unit: str) -> str:
    return unit[:-1] if len(unit) > 3 and unit.endswith("s") else unit


def _same(left: Fraction, right: Fraction) -> bool:
    return abs(left - right) <= max(abs(left), abs(right)) * _FLOAT_NOISE
