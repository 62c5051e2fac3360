"""Whole numbers and simple fractions in English words: `twenty-one`, `three quarters`, `two and a half`."""

import re
from fractions import Fraction
from functools import lru_cache
from typing import Final

_UNITS: Final = {
    word: number
    for number, word in enumerate(
        (
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen"
        ).split()
    )
}
_TENS: Final = {
    word: 10 * number
    for number, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_POWERS: Final = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS: Final = {
    word + plural: number
    for word, number in {
        "half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
        "ninth": 9, "tenth": 10,
    }.items()
    for plural in ("", "s")
} | {"halves": 2}  # fmt: skip
_SIGN = re.compile(r"(?:minus|negative)\s+(?=\d)", re.IGNORECASE)
_AND_A_PART = re.compile(r"(\d+)\s+and\s+(?:an?|one)\s+(half|third|quarter|fifth)\b", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+")
_GAP = re.compile(r"[ ]?-[ ]?|,?[ ]+")
_MAX_WORDS: Final = 24


@lru_cache(maxsize=1024)
def in_digits(text: str) -> str | None:
    """The text with the number words that it opens with as digits: `seven apples` is `7 apples`; None without any.

    `one hundred and five` is 105; `twenty five hundred`, `two three` and others that are read in two ways are left.
    """
    if (signed := _SIGN.match(text)) is not None:
        return f"-{text[signed.end() :]}"
    if (mixed := _AND_A_PART.match(text)) is not None:
        return f"{mixed[1]} 1/{_PARTS[mixed[2].lower()]}{text[mixed.end() :]}"
    words, ends = _words(text)
    sign = ""
    if words[:1] in (["minus"], ["negative"]):
        sign, words, ends = "-", words[1:], ends[1:]
    if not words or words[0] not in _UNITS | _TENS | {"a": 1, "an": 1, "half": 1}:
        return None
    whole, used = _whole(words)
    part, used = _part(words, whole, used)
    if not used or (used < len(words) and words[used] in _UNITS | _TENS | _POWERS | _PARTS | {"hundred": 1}):
        return None
    rest = text[ends[used - 1] :]
    if rest and (rest[0].isalnum() or rest[0] in "-'’"):
        return None
    if part is None:
        return f"{sign}{whole}{rest}"
    total = (whole or 0) + part
    return f"{sign}{total.numerator}/{total.denominator}{rest}"


def _words(text: str) -> tuple[list[str], list[int]]:
    """The words that the text opens with, lower case, and where each ends."""
    words: list[str] = []
    ends: list[int] = []
    at = 0
    while len(words) < _MAX_WORDS and (word := _WORD.match(text, at)) is not None:
        words.append(word[0].lower())
        ends.append(word.end())
        gap = _GAP.match(text, word.end())
        if gap is None:
            break
        at = gap.end()
    return words, ends


def _whole(words: list[str]) -> tuple[int | None, int]:
    """The whole number that the words open with, and how many of them it takes."""
    total, group, at, last_power = 0, 0, 0, 10**15
    may_be_unit, may_be_ten = True, True
    used = 0
    while at < len(words):
        word = words[at]
        if word == "a" and words[at + 1 : at + 2] == ["dozen"] and not used:
            return 1, 1
        if word in ("a", "an") and at == 0 and words[1:2] and words[1] in {"hundred", *_POWERS}:
            group, may_be_unit, may_be_ten = 1, False, False
        elif word in _UNITS and may_be_unit and (used == 0 or _UNITS[word]):
            if not may_be_ten and _UNITS[word] > 9:
                break
            group += _UNITS[word]
            may_be_unit = may_be_ten = False
        elif word in _TENS and may_be_ten:
            group += _TENS[word]
            may_be_ten = False
        elif word == "hundred" and 1 <= group <= 19:  # `fifteen hundred`; `twenty five hundred` is left
            group *= 100
            may_be_unit = may_be_ten = True
        elif word in _POWERS and group > 0 and _POWERS[word] < last_power:
            last_power = _POWERS[word]
            total, group = total + group * last_power, 0
            may_be_unit = may_be_ten = True
        elif word == "and" and used and words[at - 1] in {"hundred", *_POWERS} and _goes_on(words[at + 1 : at + 2]):
            at += 1
            continue
        else:
            break
        at += 1
        used = at
    return (total + group, used) if used else (None, 0)


def _goes_on(following: list[str]) -> bool:
    return bool(following) and (following[0] in _TENS or bool(_UNITS.get(following[0])))


def _part(words: list[str], whole: int | None, used: int) -> tuple[Fraction | None, int]:
    """The fraction behind or instead of a whole number, and how many words are taken then."""
    if whole is None:
        if words[:1] == ["half"] and len(words) == 1:
            return Fraction(1, 2), 1
        if words[0] in ("a", "an") and words[1:2] and words[1] in ("half", "third", "quarter"):
            return Fraction(1, _PARTS[words[1]]), 2
        return None, 0
    following = words[used : used + 3]
    if following[:1] and following[0] in _PARTS and 0 < whole < _PARTS[following[0]] <= 10:
        return Fraction(whole, _PARTS[following[0]]) - whole, used + 1
    if len(following) == 3 and following[0] == "and" and following[2] in _PARTS:
        top = {"a": 1, "an": 1}.get(following[1], _UNITS.get(following[1], 0))
        if 0 < top < _PARTS[following[2]]:
            return Fraction(top, _PARTS[following[2]]), used + 3
    return None, used
