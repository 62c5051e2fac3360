"""Whether two final answers say the same: as quantities where both are, else as text. The one reading of plain numbers.

Reads `1,234`, `1.234,5`, `1 234`, `$5`, `20%`, `3/4`, `1 1/2`, `½`, `−7`, `٣`, `36.0`, `1.5e3`, `3 million`, `25 cm²`,
`12 apples`, `twenty-one`, `8:00 AM`. Numbers are compared exactly; decimals only as far as their written digits go
(`agrees_with`).
What stands behind a number is a unit where `rjepa.validation.units` knows it; else the text is no number: `5i`.
Nothing is evaluated: an answer like `9**9**9**9` is text. Formulas and lists are compared in `rjepa.validation.maths`.
"""

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final

from rjepa.validation.number_words import in_digits
from rjepa.validation.repeating import FEWEST_DIGITS
from rjepa.validation.spelling import is_malformed, plain, without_full_stop
from rjepa.validation.unit_names import CURRENCIES, MONEY_SCALES, SCALES
from rjepa.validation.units import Unit, read_unit

_MAX_NUMBER: Final = 200
"""Characters; longer texts are no final number and are compared as text."""
_MAX_EXPONENT: Final = 400
_MAX_DIGITS: Final = 160
_LARGEST: Final = 10**90
"""Numerators and denominators beyond are not plain numbers; written out they would be longer than what is read."""
_MAX_PLACES: Final = 60
_DOUBLE_DIGITS: Final = 16
"""A decimal with as many significant digits is how a program prints a float: 0.30000000000000004."""
_SHORT_DIGITS: Final = 12
_DOUBLE_NOISE: Final = Fraction(1, 10**15)

_DIGITS = r"(?:[1-9]\d{0,2}(?:(?:,\d{3})+|(?:_\d{3})+|(?:['’]\d{3})+)|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{{1,4}}(?!\d))?"
_MONEY_SIGN = r"(?:US\$|[$€£¥₹₩₽]|Rs\.?|(?:USD|EUR|GBP|INR|JPY|CHF)(?=\s))"
_NUMBER = re.compile(
    rf"^(?P<sign>[+-]?)\s*(?P<currency>{_MONEY_SIGN}?)\s*(?P<sign2>[+-]?)\s?"
    rf"(?:(?P<whole>\d+)\s+(?P<top>\d+)\s*/\s*(?P<bottom>\d+)"
    rf"|(?P<over>{_DECIMAL})\s*/\s*(?P<sign3>-?)(?P<under>{_DECIMAL})"
    r"|(?P<spaced>[1-9]\d{0,2}(?: \d{3})+(?:[.,]\d+)?)(?!\d)"
    r"|(?P<dotted>[1-9]\d{0,2}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,}))(?![\d.])"
    r"|(?P<lakhs>[1-9]\d?(?:,\d{2})+,\d{3}(?:\.\d+)?)(?![\d,])"
    r"|(?P<comma>(?:\d+,(?:\d{1,2}|\d{4,})|0,\d+)(?:[eE][+-]?\d{1,4})?)(?![\d,.])"
    rf"|(?P<plain>{_DECIMAL}))"
    r"(?P<rest>(?![\d,]).*)$"
)
_PERCENT = re.compile(r"^\s*(?:%|(?:percent|per cent|pct)\b|percentage$)\s*")
_CLOCK = re.compile(
    r"^(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?\s*(?:(?P<half>[ap])\.?\s?m\b\.?|o'clock)?$",
    re.IGNORECASE,
)
_WHOLE_HOUR = re.compile(r"^(?P<hour>\d{1,2})\s*(?:(?P<half>[ap])\.?\s?m\b\.?|o'clock)$", re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]+(?:[\s.,;:!?'’\"-]+[^\W\d_]+)*[\s.!?'’\"]*")
_SIGNS = str.maketrans(dict(zip("−–‒﹣－＋⁄∕／，．％º", "-----+///,.%°", strict=True)))


@dataclass(frozen=True)
class Numeral:
    """A number with what its comparison needs to know of how it is written.

    `digits`: significant digits of a decimal with a point or an exponent below zero, 0 for whole numbers and fractions.
    `place`: what one more in the last written place is worth.
    """

    number: Fraction
    digits: int = 0
    place: Fraction = Fraction(0)

    @property
    def is_proper_fraction(self) -> bool:
        """Whether it is written as a fraction between -1 and 1: a share, and no number of hundredths."""
        return not self.digits and self.number.denominator != 1 and abs(self.number) < 1

    def agrees_with(self, other: "Numeral") -> bool:
        """Whether both say the same number: exactly, or one is a decimal that says the other in its digits."""
        if self.number == other.number:
            return True
        return (
            _is_noise_of(self, other)
            or _is_noise_of(other, self)
            or self._approximates(other)
            or other._approximates(self)
        )

    def _approximates(self, exact: "Numeral") -> bool:
        return not exact.digits and _terms(exact.number.denominator) is None and self.stands_for(exact.number)

    def stands_for(self, value: Fraction) -> bool:
        """Whether this decimal is `value`, which has no end, rounded or cut off at its last written place."""
        if self.digits < FEWEST_DIGITS:
            return False
        gap = abs(value - self.number)
        return gap <= self.place / 2 or (gap < self.place and abs(self.number) < abs(value))


@dataclass(frozen=True)
class Quantity:
    """A number with its unit; `percent` where a per cent sign stands behind it (20 for `20%`)."""

    numeral: Numeral
    percent: bool = False
    unit: Unit | None = None

    def agrees_with(self, other: "Quantity") -> bool:
        """Whether both say the same. A unit on one side only is ignored if it is surely one; two must agree."""
        if self.unit is not None and other.unit is not None:
            if not self.unit.agrees(other.unit):
                return False
        elif any(one.unit is not None and not one._unit_is_certain() for one in (self, other)):
            return False
        if self.percent == other.percent:
            return self.numeral.agrees_with(other.numeral)
        percent, share = (self, other) if self.percent else (other, self)  # `20%` says 20 and 0.2
        if share.numeral.is_proper_fraction:  # `0.5%` does not say 1/2
            return _hundredth(percent.numeral).agrees_with(share.numeral)
        return percent.numeral.agrees_with(share.numeral) or _hundredth(percent.numeral).agrees_with(share.numeral)

    def _unit_is_certain(self) -> bool:
        return self.unit is not None and (
            self.unit.certain or (bool(self.unit.words) and abs(self.numeral.number) == 1)
        )

    @property
    def key(self) -> str:
        """One text for every spelling of this quantity."""
        number = self.numeral.number
        text = _decimal_text(number) or f"{number.numerator}/{number.denominator}"
        if self.percent:
            text += "%"
        return text if self.unit is None or self.unit.key == "$" else f"{text} {self.unit.key}"


def answers_match(gold: str, given: str) -> bool:
    """Whether `given` says the same as `gold`.

    Not symmetric: `3,5` answers a gold 3.5, while a gold `3,5` may be a pair and is answered as text only.
    """
    gold, given = tidy(gold), tidy(given)
    if gold == given:
        return gold != ""
    expected, found = read_quantity(gold), read_quantity(given, is_gold=False)
    if expected is not None and found is not None:
        return expected.agrees_with(found)
    time = _time_of_day(gold)
    if time is not None and time == _time_of_day(given):
        return True
    return _folded(gold) == _folded(given) != ""


def are_numbers(gold: str, given: str) -> bool:
    """Whether both can be read as quantities here, so that what `answers_match` says of them is final."""
    return read_quantity(tidy(gold)) is not None and read_quantity(tidy(given), is_gold=False) is not None


def are_settled(gold: str, given: str) -> bool:
    """Whether both are quantities or both times of day: `answers_match` is final."""
    return are_numbers(gold, given) or None not in (_time_of_day(tidy(gold)), _time_of_day(tidy(given)))


def answer_key(answer: str | None) -> str | None:
    """The form under which answers are counted as the same: case, spaces and the spelling of numbers do not matter.

    `" 1,200.0 "` and `"$1200"` are one answer, so are `"1/2"` and `"0.5"`, `"25 cm^2"` and `"25 cm²"`. Unlike
    `answers_match` this is an equivalence: a number with a unit or a per cent sign is an answer of its own,
    and a number that can be read in two ways is text. Answers with one key match each other.

    None for an answer that is missing,
    empty, or LaTeX that breaks off.
    """
    text = "" if answer is None else tidy(answer)
    if not text.strip(". ") or is_malformed(text):
        return None
    found = read_quantity(text) or (read_quantity(tidy(plain(text))) if len(text) <= _MAX_NUMBER else None)
    return found.key if found is not None else _time_of_day(text) or _folded(text)


def tidy(answer: str) -> str:
    """One space for any white space, plain digits and signs, no full stop at the end."""
    spelled = (_plain_character(character) for character in answer.translate(_SIGNS))
    return without_full_stop(" ".join("".join(spelled).split())) or answer.strip()


@lru_cache(maxsize=4096)
def read_quantity(text: str, *, is_gold: bool = True) -> Quantity | None:
    """The quantity that a tidy text is, None where it is none or can be read in two ways.

    Args:
        text: as `tidy` returns it.
        is_gold: False also reads a comma as a decimal comma where it may part two numbers (`3,5`).
    """
    if not text or len(text) > _MAX_NUMBER:
        return None
    match = _NUMBER.match(in_digits(text) or text)
    if match is None or (match["sign"] and match["sign2"]) or (is_gold and (match["comma"] or match["lakhs"])):
        return None
    numeral = _read_numeral(match)
    if numeral is None:
        return None
    negative = "-" in (match["sign"], match["sign2"])
    rest, currency = match["rest"], CURRENCIES.get(match["currency"].lower().rstrip(".")) if match["currency"] else None
    percent = _PERCENT.match(rest)
    if percent is not None:
        rest = rest[percent.end() :]
        glued = False
    else:
        scale, rest, glued = _scale(rest, currency is not None)
        numeral = _scaled(numeral, scale)
    if max(abs(numeral.number.numerator), numeral.number.denominator) > _LARGEST:
        return None
    if negative:
        numeral = Numeral(-numeral.number, numeral.digits, numeral.place)
    if not rest.strip():
        return Quantity(numeral, percent is not None, Unit(((currency, 1),)) if currency else None)
    unit = read_unit(rest, glued=glued and not rest[0].isspace())
    if unit is not None and currency is not None:
        unit = _amount(currency, unit)
    return None if unit is None else Quantity(numeral, percent is not None, unit)


def _amount(currency: str, unit: Unit) -> Unit | None:
    """The unit of an amount of money with words behind it: `$5 dollars`, `$5 per hour`, `$5 profits`."""
    if not unit.factors or unit.factors == ((currency, 1),):
        return Unit(((currency, 1),))
    if all(power < 0 for _, power in unit.factors):
        return Unit(tuple(sorted(((currency, 1), *unit.factors))))
    return None


def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if "\u3371" <= character <= "\u33df" or character in "℃℉":  # ㎡, ㎏
        return unicodedata.normalize("NFKC", character)
    if unicodedata.decomposition(character).startswith("<fraction>"):
        return f" {unicodedata.normalize('NFKC', character).replace('⁄', '/')}"
    return unicodedata.normalize("NFC", character)


def _folded(text: str) -> str:
    """Without case where the text is words; in a formula `n` and `N` are two things."""
    return text.casefold() if _WORDS.fullmatch(text) else text


def _time_of_day(text: str) -> str | None:
    match = _CLOCK.match(text) or _WHOLE_HOUR.match(text)
    if match is None:
        return None
    parts = match.groupdict()
    hour, half = int(parts["hour"]), (parts["half"] or "").lower()
    if hour > 24 or (half and not 1 <= hour <= 12):
        return None
    seconds = parts.get("second") or "00"
    return (
        f"{hour}:{parts.get('minute') or '00'}"
        + (f":{seconds}" if seconds != "00" else "")
        + (f" {half}m" if half else "")
    )


def _scale(rest: str, is_money: bool) -> tuple[int, str, bool]:
    """The factor of the scale words that open `rest`, what follows, and whether that is glued to the number."""
    factor, glued = 1, True
    while True:
        match = re.match(r"^(\s+|-)?([^\W\d_]+)(?=$|[\s-])", rest)
        if match is None:
            return factor, rest, glued
        known = SCALES.get(match[2].lower()) if match[1] else None
        if known is None and is_money and glued:
            known = MONEY_SCALES.get(match[2])
        if known is None:
            return factor, rest, glued
        factor, rest, glued = factor * known, rest[match.end() :], False


def _scaled(numeral: Numeral, factor: int) -> Numeral:
    if factor == 1:
        return numeral
    number = numeral.number * factor
    return Numeral(number) if number.denominator == 1 else Numeral(number, numeral.digits, numeral.place * factor)


def _hundredth(numeral: Numeral) -> Numeral:
    return Numeral(numeral.number / 100, numeral.digits, numeral.place / 100)


def _read_numeral(match: re.Match[str]) -> Numeral | None:
    if match["whole"] is not None:
        top, bottom = int(match["top"]), int(match["bottom"])
        if top >= bottom:  # `1 3/2` is no mixed number; `1 / 0` is none at all
            return None
        return Numeral(int(match["whole"]) + Fraction(top, bottom))
    if match["over"] is not None:
        over, under = read_decimal(match["over"]), read_decimal(match["under"])
        if over is None or under is None or not under.number:
            return None
        return Numeral(over.number / under.number * (-1 if match["sign3"] else 1))
    if match["spaced"] is not None:
        return read_decimal(match["spaced"].replace(" ", "").replace(",", "."))
    if match["dotted"] is not None:
        return read_decimal(match["dotted"].replace(".", "").replace(",", "."))
    if match["comma"] is not None:
        return read_decimal(match["comma"].replace(",", "."))
    return read_decimal(match["lakhs"] or match["plain"])


def read_decimal(text: str) -> Numeral | None:
    """A decimal number with its thousands separators and exponent; None where it is too long or too large."""
    mantissa, _, exponent = re.sub(r"[,_'’]", "", text).lower().partition("e")
    if len(mantissa) > _MAX_DIGITS or (exponent and abs(int(exponent)) > _MAX_EXPONENT):
        return None
    whole, _, part = mantissa.partition(".")
    place = Fraction(10) ** (int(exponent or 0) - len(part))
    number = Fraction(int((whole + part) or "0")) * place
    is_decimal = bool(part) and number.denominator != 1 or place < 1
    return Numeral(number, len((whole + part).lstrip("0")), place) if is_decimal else Numeral(number)


def _is_noise_of(noisy: Numeral, short: Numeral) -> bool:
    """Whether `noisy` is `short` as a program prints it after some sums of floats."""
    if noisy.digits < _DOUBLE_DIGITS or short.number.numerator == 0:
        return False
    terms = _terms(short.number.denominator)
    if (
        terms is not None
        and len(str(abs(short.number.numerator) * 10**terms // short.number.denominator).rstrip("0")) > _SHORT_DIGITS
    ):
        return False
    return abs(noisy.number - short.number) <= abs(short.number) * _DOUBLE_NOISE


def _terms(denominator: int) -> int | None:
    """Decimal places of a fraction with this denominator, None where they do not end."""
    twos = (denominator & -denominator).bit_length() - 1
    left, fives = denominator >> twos, 0
    while left % 5 == 0:
        left, fives = left // 5, fives + 1
    return max(twos, fives) if left == 1 else None


def _decimal_text(number: Fraction) -> str | None:
    """`number` written out in full, None where its decimals do not end (or go on past any sensible length)."""
    places = _terms(number.denominator)
    if places is None or places > _MAX_PLACES:
        return None
    digits = str(abs(number.numerator) * 10**places // number.denominator).zfill(places + 1)
    whole, part = (digits[:-places], digits[-places:]) if places else (digits, "")
    return ("-" if number < 0 else "") + whole + (f".{part}" if part else "")
