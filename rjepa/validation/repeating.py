r"""Write repeating decimals (`0.333...`, `0.(3)`, `0.\dot{3}`) as `0.\overline{3}`, which `formula_values` reads."""

import re
from typing import Final

_MARKED = (
    (re.compile(r"(\d*\.\d*)\\(?:dot|bar|overline)\s*(\d)(?![\d}])"), r"\1\\overline{\2}"),
    (re.compile(r"(\d*\.\d*)\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?(?!\d)"), r"\1\\overline{\2\3\4}"),
    (re.compile(r"(?<![\w.)])(\d*\.\d*)\((\d+)\)(?![\d.(])"), r"\1\\overline{\2}"),
    (re.compile(r"(\d*\.\d*?)((?:\d[\u0304\u0305])+)(?!\d)"), lambda match: _with_bar(match[1], match[2])),
    (re.compile(r"(\d*\.\d*?)(\d)\u0307(?:(\d*)(\d)\u0307)?(?!\d)"), lambda match: _with_dots(*match.groups(""))),
)
_DOTS = re.compile(r"(?<![\w.])(?P<whole>\d*)\.(?P<part>\d+)\s*(?:\.{3,}|…|\\l?dots(?![a-zA-Z])|\\cdots(?![a-zA-Z]))")
_ONE_DIGIT: Final = re.compile(r"(?P<fixed>\d*?)(?P<period>\d)(?P=period){2,}$")
_WHOLE: Final = re.compile(r"(?P<period>\d{2,}?)(?P=period)+$")
FEWEST_DIGITS: Final = 6
"""The fewest significant digits of a decimal for a number without an end: 0.333333 stands for 1/3, 0.33 does not."""


def with_overlines(text: str) -> str:
    r"""A text whose repeating decimals are all written with `\overline`.

    `0.333...` repeats its last digit, which has to stand there three times; `0.1212...` repeats all its decimals. Where
    the text does not show what repeats, a long decimal loses its dots (`2.718281828...` is a decimal that was cut off)
    and a short one keeps them (`0.33...`), so that nothing reads it.
    """
    if "." not in text:
        return text
    for pattern, replacement in _MARKED:
        text = pattern.sub(replacement, text)
    return _DOTS.sub(_without_dots, text)


def _without_dots(match: re.Match[str]) -> str:
    whole, part = match["whole"], match["part"]
    one = _ONE_DIGIT.match(part)
    if one is not None:
        return f"{whole}.{one['fixed']}\\overline{{{one['period']}}}"
    all_of_it = _WHOLE.match(part)
    if all_of_it is not None:
        return f"{whole}.\\overline{{{all_of_it['period']}}}"
    digits = (whole + part).lstrip("0")
    return f"{whole}.{part}" if len(digits) >= FEWEST_DIGITS else match[0]


def _with_bar(before: str, marked: str) -> str:
    return f"{before}\\overline{{{re.sub('[^0-9]', '', marked)}}}"


def _with_dots(before: str, first: str, between: str, last: str) -> str:
    return f"{before}\\overline{{{first}{between}{last}}}"
