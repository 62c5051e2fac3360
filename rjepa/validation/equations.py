"""Find the first step whose arithmetic is wrong: `a op b (op c) = d`, in prose, with units.

Only what is surely wrong is reported; whatever cannot be read for sure counts as unknown. So None means "none can be
shown wrong", not "all are right". The reading of expressions lives in `rjepa.validation.expressions`.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from rjepa.validation.assertion import is_stated
from rjepa.validation.expression_words import ALTERING_IN_STEPS
from rjepa.validation.expressions import (
    MAX_TOKENS,
    RATE,
    Token,
    UnknownExpressionError,
    Value,
    parse,
    spelled,
    tokenise,
)

_MAX_STEP = 4000  # characters of a step that are looked at
_ROUNDED = re.compile(
    r"≈|\b(about|approx\w*|around|round\w*|nearest|whole|roughly|almost|nearly|remain\w*|left ?over|at (least|most))\b",
    re.IGNORECASE,
)
_OTHER_ARITHMETIC = re.compile(
    r"\bmod(?:ulo|ular)?\b|\\[bp]?mod\b|\b(?:binary|hexadecimal|octal|bitwise|xor)\b|\bin\s+base\b|\bbase[\s-]?\d|o['’]clock"
    r"|\b0[xbo][\da-f]",
    re.IGNORECASE,
)
"""Words that say that sums do not mean what they mean elsewhere: 3 + 4 is 2 mod 5."""
_DOTTED = re.compile(r"(?<![\w.,])\d{1,3}(?:\.\d{3})+(?![\d.,]*\d)")
_FLOAT_DIGITS = 16
"""A decimal with so many significant digits is a float as a program prints it: 0.30000000000000004."""
_FLOAT_NOISE = Fraction(1, 10**13)
"""How far such a float may be off, of its size or of 1: a difference of near numbers loses digits."""
_CALCULATION = re.compile(r"<<([^<>]*)>>")


def first_wrong_equation(steps: list[str]) -> int | None:
    """Index of the first step with an equation that is surely wrong, None if there is none."""
    for index, step in enumerate(steps):
        if has_wrong_equation(step):
            return index
    return None


def has_wrong_equation(step: str) -> bool:
    """Whether some equation in this step is surely wrong, and stated: not asked, supposed or taken back."""
    return not all(_stated_equations(step))


def count_right_equations(steps: list[str]) -> int:
    """How many equations of a chain can be read for sure, and hold."""
    return sum(sum(_stated_equations(step)) for step in steps)


def _stated_equations(step: str) -> Iterator[bool]:
    """Whether each equation of a step holds, of those that can be read for sure and are stated."""
    text = spelled(step[:_MAX_STEP])
    if "=" not in text or _OTHER_ARITHMETIC.search(text):
        return
    for part in (_CALCULATION.sub("", text), *_CALCULATION.findall(text)):  # GSM8K: `80 + 50 = $<<80+50=130>>130`
        found = list(_equations_of(part))
        if not all(found) and _DOTTED.search(part):  # `1.500 + 500 = 2.000` as Europe writes thousands
            otherwise = list(_equations_of(_DOTTED.sub(lambda number: number[0].replace(".", ""), part)))
            found = [one or other for one, other in zip(found, otherwise, strict=False)]
        yield from found


def _equations_of(text: str) -> Iterator[bool]:
    tokens = tokenise(text)
    signs = [index for index, token in enumerate(tokens) if token.kind == "equals"]
    edges = [-1, *signs, len(tokens)]
    rounded = _ROUNDED.search(text) is not None
    for number, sign in enumerate(signs, start=1):
        first, last = edges[number - 1] + 1, edges[number + 1]
        right = _right_side(tokens, sign + 1, last)
        left = _left_side(tokens, first, sign, in_chain=number > 1) if right is not None else None
        if left is None or right is None:
            continue
        holds = _holds(left, right, rounded)
        if holds or is_stated(text, tokens[sign].start, tokens[sign + 1].end):
            yield holds


def _left_side(tokens: list[Token], first: int, stop: int, *, in_chain: bool) -> Value | None:
    """The longest expression that ends at `stop`. A bare number is one only as the middle of a chain `a = b = c`:
    before the first sign it may be a word's (`Day 5 = ...`).
    """
    for start in range(max(first, stop - MAX_TOKENS), stop):
        try:
            value, end = parse(tokens, start, stop)
        except UnknownExpressionError:
            continue
        if end == stop:
            whole_link = in_chain and start == first
            if _stands_alone(tokens, first, start) and (value.operators > 0 or whole_link):
                return value
            return None
    return None


def _stands_alone(tokens: list[Token], first: int, start: int) -> bool:
    """Whether nothing before `start` belongs to the expression: an operator, a number, `half of`."""
    if start == first:
        return True
    before = tokens[start - 1]
    if before.kind == "open" and start - 1 > first:
        before = tokens[start - 2]
    if before.kind not in ("word", "mark", "open"):
        return False
    if before.kind == "mark" and before.text not in '.:;,?•"“\n':
        return False
    if before.kind == "word" and tokens[start].glued:  # `sqrt(9 + 16)`
        return False
    near = [token for token in tokens[max(first, start - 3) : start] if token.kind == "word"]
    return not any(token.text.lower() in ALTERING_IN_STEPS or token.text.lower() == "per" for token in near)


def _right_side(tokens: list[Token], start: int, stop: int) -> Value | None:
    try:
        value, end = parse(tokens, start, stop)
    except UnknownExpressionError:
        return None
    if end == stop:
        return value
    after = tokens[end]
    runs_on = after.kind in ("operator", "opaque", "percent", "currency") or (after.kind == "open" and after.glued)
    beside = after.kind == "number" and tokens[end - 1].kind in ("number", "percent")
    return None if runs_on or beside else value


def _holds(left: Value, right: Value, rounded: bool) -> bool:
    """Whether left = right, or may be: rounding, percents read either way, measures that convert."""
    measures = {left.measure, right.measure} - {"", RATE}
    if len(measures) > 1:
        return True
    percent_either_way = left.percent != right.percent
    scales = (Fraction(1), Fraction(100), Fraction(1, 100)) if percent_either_way else (Fraction(1),)
    return any(_close(left.number * scale, replace(left, error=left.error * scale), right, rounded) for scale in scales)


def _close(number: Fraction, left: Value, right: Value, rounded: bool) -> bool:
    gap = abs(number - right.number)
    error = left.error + (right.error if right.decimals is None else 0)
    if gap <= error:
        return True
    if right.decimals is None:
        return False
    if _is_printed_float(right) and gap <= max(Fraction(1), abs(number)) * _FLOAT_NOISE:
        return True
    place = Fraction(1, 10**right.decimals) * (Fraction(1, 100) if right.percent else 1)
    if right.decimals == 0:
        return rounded and gap < place
    cut_off = right.decimals >= 2 and abs(right.number) < abs(number) and gap < place
    return gap <= place / 2 or cut_off


def _is_printed_float(literal: Value) -> bool:
    """Whether a literal is a decimal with as many significant digits as only a program writes."""
    return bool(literal.decimals) and abs(literal.number) * 10 ** (literal.decimals or 0) >= 10 ** (_FLOAT_DIGITS - 1)
