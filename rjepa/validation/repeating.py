r"""Decimals that do not end, in every spelling, as LaTeX's `0.\overline{3}`; they are read in `formula_values`."""

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
_LONG_ENOUGH: Final = 6
"""Decimals that stand for a number without an end; as in `rjepa.validation.answers`."""


def with_overlines(text: str) -> str:
    r"""A text whose repeating decimals are all written with `\overline`.

    `0.333...` repeats its last digit, which stands there three times; `0.1212...` all its decimals. Where it is not to
    be seen what repeats (`0.33...`, `2.718281828...`), long decimals are left as if they were cut off, short ones keep
    their dots and cannot be read.
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
    return f"{whole}.{part}" if len(digits) >= _LONG_ENOUGH else match[0]


def _with_bar(before: str, marked: str) -> str:
    return f"{before}\\overline{{{re.sub('[^0-9]', '', marked)}}}"


def _with_dots(before: str, first: str, between: str, last: str) -> str:
    return f"{before}\\overline{{{first}{between}{last}}}"
