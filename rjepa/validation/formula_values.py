"""The functions, constants and bounded arithmetic of formulas. They are read in `rjepa.validation.formulas`."""

from typing import Final

import sympy
from sympy import Expr, Rational, Symbol

from rjepa.validation.answers import read_decimal
from rjepa.validation.spelling import matching
from rjepa.validation.unreadable import UnreadableError

_MAX_POWER_BITS: Final = 200_000
"""Bits of the largest power that is worked out: 2^100000 is, 9^9^9 is not."""
_MAX_FACTORIAL: Final = 3000

LOG_BASE: Final = Symbol("base of log", positive=True)
DEGREE: Final = sympy.pi / 180

FUNCTIONS: Final = {
    "sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "cot": sympy.cot, "sec": sympy.sec, "csc": sympy.csc,
    "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan, "asin": sympy.asin, "acos": sympy.acos,
    "atan": sympy.atan, "arccot": sympy.acot, "arctg": sympy.atan,
    "arcsec": sympy.asec, "arccsc": sympy.acsc, "sinh": sympy.sinh, "cosh": sympy.cosh, "tanh": sympy.tanh,
    "exp": sympy.exp,
    "ln": sympy.log, "abs": sympy.Abs, "floor": sympy.floor, "ceil": sympy.ceiling,
    "cbrt": sympy.cbrt, "sqrt": sympy.sqrt,
    "lg": lambda x: sympy.log(x, 10), "Re": sympy.re, "Im": sympy.im,
}  # fmt: skip
COMMANDS: Final = FUNCTIONS | {"tg": sympy.tan, "ctg": sympy.cot, "cotg": sympy.cot}
"""Functions as LaTeX's commands and in `\\operatorname`; in plain letters, `tg` may be t times g."""
INVERSES = {
    "sin": sympy.asin,
    "cos": sympy.acos,
    "tan": sympy.atan,
    "sinh": sympy.asinh,
    "cosh": sympy.acosh,
    "tanh": sympy.atanh,
}
GREEK: Final = frozenset(
    (
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma "
        "tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar"
    ).split()
)
MARKS: Final = frozenset(
    ("bar hat vec overline tilde dot mathbf boldsymbol mathcal mathbb overrightarrow underline").split()
)
WORDS = {"pi": sympy.pi, "Pi": sympy.pi, "oo": sympy.oo, "inf": sympy.oo, "infinity": sympy.oo, "Infinity": sympy.oo}
LETTERS = {"e": sympy.E, "i": sympy.I, "I": sympy.I}
APPLIED = frozenset("fghFGHP")
"""Letters that name functions where a parenthesis follows: `f(x)` is no product."""


def letter(text: str) -> Expr:
    """The constant or symbol that a letter is."""
    return LETTERS.get(text) or Symbol(text, real=True)


def decimal(text: str) -> Expr:
    """A decimal number as the exact fraction that it is.

    Raises:
        OverflowError: it is too large.
    """
    numeral = read_decimal(text)
    if numeral is None:
        raise OverflowError(text)
    return Rational(numeral.number.numerator, numeral.number.denominator)


def repeating(text: str) -> Expr:
    r"""`0.1\overline{6}` as the fraction that it is."""
    start = text.index("\\")
    brace = text.index("{")
    period = text[brace + 1 : matching(text, brace)]
    whole, _, part = text[:start].partition(".")
    fixed = Rational(int((whole + part) or "0"), 10 ** len(part))
    return fixed + Rational(int(period), (10 ** len(period) - 1) * 10 ** len(part))


def raised(base: Expr, exponent: Expr) -> Expr:
    """A power, worked out where it is not too large.

    Raises:
        OverflowError: it is.
        UnreadableError: it divides by zero.
    """
    if base.is_zero and exponent.is_negative:
        raise UnreadableError("a division by zero")
    if base.is_Rational and exponent.is_Rational and base not in (0, 1, -1):
        bits = max(abs(int(base.p)), int(base.q)).bit_length() * abs(exponent)
        if bits > _MAX_POWER_BITS:
            raise OverflowError("a power that is too large")
    elif (
        base.is_number
        and exponent.is_number
        and exponent.is_extended_real
        and abs(exponent) > _MAX_POWER_BITS
        and exponent.is_finite
    ):
        raise OverflowError("a power that is too large")
    return base**exponent


def factorial(base: Expr) -> Expr:
    """A factorial, worked out where it is not too large.

    Raises:
        OverflowError: it is.
        UnreadableError: of no whole number.
    """
    if base.is_number and not (base.is_Integer and base >= 0):
        raise UnreadableError("a factorial of no whole number")
    if base.is_Integer and base > _MAX_FACTORIAL:
        raise OverflowError("a factorial that is too large")
    return sympy.factorial(base)


def binomial(top: Expr, bottom: Expr) -> Expr:
    """A binomial coefficient.

    Raises:
        OverflowError: it is too large.
    """
    if top.is_Integer and abs(top) > _MAX_FACTORIAL:
        raise OverflowError("a binomial that is too large")
    return sympy.binomial(top, bottom)
