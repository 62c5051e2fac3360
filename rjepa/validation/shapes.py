"""What an answer can be: a formula, words, several answers, a set, a tuple or interval, a matrix, an equation.

Answers are read into these in `rjepa.validation.reading` and compared in `rjepa.validation.equivalence`.
"""

from dataclasses import dataclass

import sympy
from sympy import Expr

from rjepa.validation.answers import Quantity
from rjepa.validation.units import Unit


@dataclass(frozen=True)
class Scalar:
    """A formula; `quantity` where it is a plain number, `unit` where a known one stands behind it."""

    text: str
    value: Expr
    quantity: Quantity | None = None
    unit: Unit | None = None


@dataclass(frozen=True)
class Words:
    """A text without mathematics."""

    text: str


@dataclass(frozen=True)
class Items:
    """Several answers side by side, in any order; `name` where all of them are values of one thing (`x = 1, 2`)."""

    parts: tuple["Shape", ...]
    name: str | None = None
    ordered: bool = True


@dataclass(frozen=True)
class Collection:
    """The elements of a finite set."""

    parts: tuple["Shape", ...]


@dataclass(frozen=True)
class Sequence:
    """A tuple, vector or interval: its parts in order between two brackets."""

    brackets: str
    parts: tuple["Shape", ...]


@dataclass(frozen=True)
class Matrix:
    """Rows of equal length."""

    rows: tuple[tuple["Shape", ...], ...]


@dataclass(frozen=True)
class Named:
    """A value with its name: `x = 5`, `f(x) = 2x`."""

    name: str
    symbol: Expr | None
    value: "Shape"


@dataclass(frozen=True)
class Equation:
    """Both sides' difference is zero."""

    difference: Expr


@dataclass(frozen=True)
class Inequality:
    """In several symbols: `difference` is above zero, or not below it."""

    difference: Expr
    strict: bool


@dataclass(frozen=True)
class Region:
    """A set of real numbers."""

    numbers: sympy.Set


Shape = Scalar | Words | Items | Collection | Sequence | Matrix | Named | Equation | Inequality | Region


def as_region(shape: Shape) -> sympy.Set | None:
    """The set of real numbers that a shape can be read as, None for others."""
    match shape:
        case Region():
            return shape.numbers
        case Collection():
            values = [part.value for part in shape.parts if isinstance(part, Scalar)]
            return sympy.FiniteSet(*values) if len(values) == len(shape.parts) else None
        case Sequence(brackets, (Scalar() as start, Scalar() as end)):
            if not (start.value.is_extended_real and end.value.is_extended_real):
                return None
            return sympy.Interval(start.value, end.value, brackets[0] == "(", brackets[1] == ")")
    return None
