"""Read arithmetic out of prose: numbers with units, + - * / ^, parentheses, percents. A small parser, no `eval`.

It is strict on purpose. Whatever it does not surely understand (variables, roots, `dozen`, `3:30`, mixed measures)
makes the expression unknown, so that no right step is called wrong. Equations are judged in
`rjepa.validation.equations`.
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, cast

from rjepa.validation.expression_words import ALTERING_IN_STEPS, MEASURES
from rjepa.validation.spelling import ascii_digits

Kind = Literal["number", "percent", "operator", "open", "close", "word", "currency", "equals", "mark", "opaque"]

MAX_TOKENS = 80
"""Longest expression looked at: no worked step comes near, and the arithmetic of anything longer is not worth it."""
_MAX_DIGITS = 30
_MAX_DEPTH = 20
_FINE_DECIMALS = 3
"""A literal written to this many places (0.333) may itself be rounded; prices have two."""
_MAX_UNIT_WORDS = 6
_MAX_EXPONENT = 100
_MAX_POWER_BITS = 2000

_TOKEN = re.compile(
    r"(?P<opaque>\d+(?::\d+)+|[=<>!]=|=>|->|\d+(?:,\d+)*,(?!\d{3}(?!\d))\d+(?:\.\d+)?|\d+(?:\.\d{3})+,\d+"
    r"|\d+(?:\.\d+)?[eE][-+]?\d+|0[xXbBoO][\da-fA-F]+\b)"
    r"|(?P<number>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<word>[^\W\d_²³]+[²³]?(?:[-'’][^\W_]+)*)"
    r"|(?P<currency>[$€£¥₹])|(?P<percent>%)|(?P<operator>//|\*\*|[-+*/×÷·−^])|(?P<open>\()|(?P<close>\))"
    r"|(?P<equals>=)|(?P<mark>[.,;:?\"'“”’•]|\n(?!\s*[=+*/×÷]))|(?P<unclear>\n(?=\s*[+*]))|(?P<other>\S)"
)
_LATEX = (("\\times", "*"), ("\\cdot", "*"), ("\\div", "/"), ("\\%", "%"), ("\\$", "$"), ("⋅", "*"), ("∗", "*"))
_OPERATORS = {"×": "*", "·": "*", "−": "-", "**": "^"}
_SPELLINGS = (
    (re.compile(r"(?<![\d)}\s])\s*\\[dt]?frac\s*\{(-?\d+(?:\.\d+)?)\}\s*\{(\d+(?:\.\d+)?)\}"), r" ((\1)/(\2))"),
    (re.compile(r"(?<=\*) \(\("), "(("),
    (re.compile(r"(?<=[\d)])([²³])"), lambda match: "^2" if match[1] == "²" else "^3"),
    (re.compile(r"\^\s*\{\s*(\d+)\s*\}"), r"^\1"),
    (re.compile(r"(?:^|(?<=[\s(:>]))\*\*(?=\S)|(?<=\S)\*\*(?=$|[\s.,;:!?)])"), ""),  # bold
    (re.compile(r"(?<!\\)\\\\(?![a-zA-Z\\])"), "\n"),
    (re.compile(r"&\s*="), "="),
)

_LATEX_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!)(?=\d{3}(?!\d))")

RATE = "per"
"""The measure of a rate (`minutes/batch`). The measure of a product or quotient with a rate is not known."""


class UnknownExpressionError(ValueError):
    """The text cannot surely be read as arithmetic."""


@dataclass(frozen=True, slots=True)
class Token:
    """`glued`: no white space before it; `start` and `end`: where it stands in the text as `spelled` returns it."""

    kind: Kind
    text: str
    glued: bool
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression comes to, and what its comparison needs to know of how it was written.

    `decimals`: places after the point if it is one literal number, else None; `error`: by how much it may be off
    because literals with many places (0.333) may be rounded; `operators`: how many were applied; `measure`: its unit
    of measure, "" where none or unclear.
    """

    number: Fraction
    percent: bool = False
    decimals: int | None = None
    error: Fraction = Fraction(0)
    operators: int = 0
    measure: str = ""


def spelled(text: str) -> str:
    """A step with plain signs for LaTeX's."""
    for latex, plain in _LATEX:
        text = text.replace(latex, plain)
    text = _LATEX_THOUSANDS.sub(",", ascii_digits(text))
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    return text


def tokenise(text: str) -> list[Token]:
    """The tokens of a step that `spelled` returned. `x` between numbers and `of` after a fraction become `*`."""
    tokens: list[Token] = []
    end = 0
    for match in _TOKEN.finditer(text):
        kind, found = match.lastgroup or "other", match.group()
        glued = match.start() == end and bool(tokens)
        end = match.end()
        is_index = kind == "number" and glued and _is_a_name(tokens)
        if kind in ("other", "unclear") or is_index or (kind == "number" and len(found) > _MAX_DIGITS):
            kind = "opaque"
        tokens.append(Token(cast(Kind, kind), _OPERATORS.get(found, found), glued, match.start(), end))
    return [_as_times(tokens, index) for index in range(len(tokens))]


def _is_a_name(tokens: list[Token]) -> bool:
    """Whether the last token, a number being glued to it, is a name: `x1`, `log2`; and not the sign of `2x3`."""
    last = tokens[-1]
    if last.kind != "word" or last.text.lower() != "x":
        return last.kind == "word"
    return len(tokens) < 2 or tokens[-2].kind not in ("number", "percent", "close")


def parse(tokens: list[Token], start: int, stop: int) -> tuple[Value, int]:
    """The longest expression that begins at `start`, and the index after it (at most `stop`).

    Raises:
        UnknownExpressionError: no expression begins there, or it runs into something unreadable.
    """
    return _Parser(tokens, start, min(stop, start + MAX_TOKENS)).run()


def _as_times(tokens: list[Token], index: int) -> Token:
    token = tokens[index]
    if token.kind != "word" or index == 0 or index + 1 >= len(tokens):
        return token
    before, after = tokens[index - 1], tokens[index + 1]
    starts_operand = after.kind in ("number", "currency") or after.kind == "open"
    word = token.text.lower()
    if word == "x" and starts_operand and (before.kind in ("number", "percent", "close") or after.kind != "open"):
        return replace(token, kind="operator", text="*")
    fraction = [t.kind for t in tokens[max(0, index - 3) : index]] == ["number", "operator", "number"]
    of_part = before.kind == "percent" or (fraction and tokens[index - 2].text == "/")
    if word == "of" and starts_operand and of_part:
        return replace(token, kind="operator", text="*")
    return token


class _Parser:
    """Recursive descent over tokens[start:stop]."""

    def __init__(self, tokens: list[Token], start: int, stop: int) -> None:
        self._tokens, self._at, self._stop, self._depth = tokens, start, stop, 0

    def run(self) -> tuple[Value, int]:
        return self._sum(), self._at

    def _peek(self, ahead: int = 0) -> Token | None:
        index = self._at + ahead
        return self._tokens[index] if index < self._stop else None

    def _next_is(self, *texts: str) -> bool:
        token = self._peek()
        return token is not None and token.kind == "operator" and token.text in texts

    def _sum(self) -> Value:
        left = self._product()
        while self._next_is("+", "-"):
            sign = 1 if self._tokens[self._at].text == "+" else -1
            self._at += 1
            right = self._product()
            if left.percent != right.percent:
                raise UnknownExpressionError("`200 + 10%` means different things to different people")
            if left.measure and right.measure and left.measure != right.measure:
                raise UnknownExpressionError("a sum of different measures")
            measure = left.measure or right.measure
            number, error = left.number + sign * right.number, left.error + right.error
            left = _combine(left, right, number, error, left.percent, measure)
        return left

    def _product(self) -> Value:
        left = self._signed()
        while True:
            token = self._peek()
            implied = token is not None and token.kind == "open" and token.glued and self._after_number()
            if not implied and not self._next_is("*", "/", "//", "÷"):
                return left
            operator = "*" if implied or token is None else token.text
            self._at += 0 if implied else 1
            fraction = operator in ("/", "÷") and self._fraction_follows()
            if fraction and operator == "/" and token is not None and not token.glued:
                raise UnknownExpressionError("`6 / 1/2` means different things to different people")
            right = self._signed()
            if fraction and operator == "÷":
                self._at += 1
                right = _times(right, self._signed(), "/")
            left = _times(left, right, operator)

    def _fraction_follows(self) -> bool:
        """Whether `1/2` without spaces comes next."""
        number, slash, divisor = (self._peek(ahead) for ahead in range(3))
        if number is None or slash is None or divisor is None or slash.text != "/":
            return False
        return number.kind == divisor.kind == "number" and slash.glued and divisor.glued

    def _after_number(self) -> bool:
        return self._tokens[self._at - 1].kind in ("number", "close")

    def _signed(self) -> Value:
        if self._next_is("-"):
            self._at += 1
            token = self._peek()
            if token is None or not token.glued:
                raise UnknownExpressionError("a dash that is no sign")
            value = self._power()
            return replace(value, number=-value.number)
        return self._power()

    def _power(self) -> Value:
        """A number or group with a whole exponent. `2^3^4` and `2^0.5` are not known."""
        value = self._operand()
        if not self._next_is("^"):
            return value
        exponent = self._peek(1)
        if self._tokens[self._at - 1].kind not in ("number", "close"):
            raise UnknownExpressionError("a power of a unit")
        if exponent is None or not exponent.text.isdigit() or int(exponent.text) > _MAX_EXPONENT or value.measure:
            raise UnknownExpressionError("a power of something else, or too large")
        after = self._peek(2)
        if (after is not None and after.text in ("^", "%", "/") and after.glued) or value.percent or value.error:
            raise UnknownExpressionError("a power that goes on")
        if value.number.numerator.bit_length() * int(exponent.text) > _MAX_POWER_BITS:
            raise UnknownExpressionError("a power that is too large")
        self._at += 2
        unit = self._unit()
        power = Value(value.number ** int(exponent.text), operators=value.operators + 1)
        return replace(power, measure=unit) if unit else power

    def _operand(self) -> Value:
        token = self._peek()
        money = token is not None and token.kind == "currency"
        if money:
            self._at += 1
            token = self._peek()
        if token is None or token.kind not in ("number", "open"):
            raise UnknownExpressionError("no number where one is needed")
        self._at += 1
        if token.kind == "open":
            value = self._group()
        else:
            value = _literal(token.text)
            following = self._peek()
            if following is not None and following.kind == "percent":
                self._at += 1
                value = replace(value, number=value.number / 100, error=value.error / 100, percent=True)
        measure = self._unit() or ("money" if money else "")
        return replace(value, measure=measure) if measure else value

    def _group(self) -> Value:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise UnknownExpressionError("too deeply nested")
        value = self._sum()
        token = self._peek()
        if token is None or token.kind != "close":
            raise UnknownExpressionError("a parenthesis that is not closed")
        self._at += 1
        self._depth -= 1
        return replace(value, decimals=None)

    def _unit(self) -> str:
        """Pass over the words of a unit (`board games`, `minutes/batch`) and return its measure, if it has one."""
        measure = ""
        for count in range(_MAX_UNIT_WORDS):
            token, following = self._peek(), self._peek(1)
            if token is None:
                break
            if token.kind == "operator" and token.text == "/" and following is not None and following.kind == "word":
                self._at += 2
                measure = RATE
                continue
            if token.kind not in ("word", "currency"):
                break
            if token.kind == "currency":
                if following is not None and following.kind == "number":
                    break
                measure = "money"
            word = token.text.lower()
            if count < 2 and (
                word in ALTERING_IN_STEPS or (count == 0 and len(word) == 1 and word.isalpha() and word != "a")
            ):
                raise UnknownExpressionError(f"{word!r} changes the number before it")
            if count < 2:
                measure = measure or MEASURES.get(word, "")
            self._at += 1
        return measure


def _literal(text: str) -> Value:
    decimals = len(text.partition(".")[2])
    error = Fraction(1, 10**decimals) if decimals >= _FINE_DECIMALS else Fraction(0)
    return Value(Fraction(text.replace(",", "")), decimals=decimals, error=error)


def _times(left: Value, right: Value, operator: str) -> Value:
    if operator != "*" and right.number == 0:
        raise UnknownExpressionError("a division by zero")
    if operator == "*":
        number = left.number * right.number
        error = abs(left.number) * right.error + abs(right.number) * left.error + left.error * right.error
    elif right.error >= abs(right.number):
        raise UnknownExpressionError("a division by what may be zero")
    else:
        number = left.number / right.number
        error = (left.error + abs(number) * right.error) / (abs(right.number) - right.error)
        number = Fraction(left.number // right.number) if operator == "//" else number
    mixed = bool(left.measure and right.measure) or RATE in (left.measure, right.measure)
    measure = "" if mixed else left.measure or right.measure
    return _combine(left, right, number, error, left.percent and right.percent, measure)


def _combine(left: Value, right: Value, number: Fraction, error: Fraction, percent: bool, measure: str) -> Value:
    return Value(number, percent, None, error, left.operators + right.operators + 1, measure)
