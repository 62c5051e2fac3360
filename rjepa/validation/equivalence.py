"""Whether two answers that were read say the same. Exactly: nothing is rounded but what is written as a decimal.

Answers are read in `rjepa.validation.reading`. Imported by worker processes only.
"""

from fractions import Fraction
from typing import Final

import sympy
from sympy import Expr

from rjepa.validation.answers import Numeral
from rjepa.validation.shapes import (
    Collection,
    Equation,
    Inequality,
    Items,
    Matrix,
    Named,
    Scalar,
    Sequence,
    Shape,
    Words,
    as_region,
)

_LOOK: Final = 60
"""Digits in which numbers are looked at first: what differs is different, what agrees is still to be shown equal."""
_LOOK_AGAIN: Final = 400
"""Digits in which two numbers have to agree where sympy can show neither that they are equal nor that they are not."""
_POINTS: Final = tuple(
    tuple(Fraction(number, 7919) for number in row)
    for row in (
        (5003, 11003, 3001, 17011),
        (-9001, 4001, 13007, -2003),
        (30011, -20011, 1009, 7001),
        (-1013, -6007, 40009, 25013),
    )
)
"""Where formulas with symbols are compared first: fractions of both signs that solve nothing by accident."""
_LARGEST_EXPONENT: Final = 10_000
"""A formula with symbols and a larger exponent is not compared: its values are too large to be worked out."""
_FEWEST_POINTS: Final = 2
"""At so many points two formulas have to have values, and the same ones, where sympy cannot show them equal."""
_SHORT_DIGITS: Final = 15
"""A fraction with no more decimal digits than that has to be written out in full."""


def same(gold: Shape, answer: Shape) -> bool:
    """Whether `answer` says what `gold` says. Not symmetric: a gold `(1,2)` may be a point and is no `1 < x < 2`."""
    if isinstance(gold, Named) or isinstance(answer, Named):
        return _same_named(gold, answer)
    match gold, answer:
        case Scalar(), Scalar():
            return _same_scalar(gold, answer)
        case Words(), Words():
            return gold.text == answer.text
        case Equation(), Equation():
            return _same_equation(gold.difference, answer.difference)
        case Inequality(), Inequality():
            ratio = _ratio(gold.difference, answer.difference)
            return gold.strict == answer.strict and ratio is not None and bool(ratio.is_positive)
        case Matrix(), Matrix():
            return len(gold.rows) == len(answer.rows) and all(map(_same_in_order, gold.rows, answer.rows))
        case Matrix(), Sequence():
            return _is_column(gold, answer)
        case Sequence(), Matrix():
            return _is_column(answer, gold)
        case Sequence(), Sequence():
            return gold.brackets == answer.brackets and _same_in_order(gold.parts, answer.parts)
        case Items(), Sequence():
            return _items_are_sequence(gold, answer)
        case Sequence(), Items():
            return _items_are_sequence(answer, gold)
        case Items(), Items():
            return _same_items(gold, answer)
        case (Collection(()), Words("no solution")) | (Words("no solution"), Collection(())):
            return True
        case Items(), Collection():
            return _same_in_any_order(_distinct(gold.parts), answer.parts)
        case Collection(), Items():
            return _same_in_any_order(_distinct(gold.parts), answer.parts)
        case Collection(), Collection():
            return _same_in_any_order(_distinct(gold.parts), _distinct(answer.parts))
        case (Collection((one,)), Scalar()):
            return same(one, answer)
        case (Scalar(), Collection((one,))):
            return same(gold, one)
    return _same_region(gold, answer)


def _same_named(gold: Shape, answer: Shape) -> bool:
    if isinstance(gold, Named) and isinstance(answer, Named):
        answer = _with_argument_of(gold, answer)
        if gold.name == answer.name:
            return same(gold.value, answer.value)
        first, second = _as_equation(gold), _as_equation(answer)
        return first is not None and second is not None and _same_equation(first, second)
    named, other = (gold, answer) if isinstance(gold, Named) else (answer, gold)
    if isinstance(other, Equation) and isinstance(named, Named):
        equation = _as_equation(named)
        return equation is not None and _same_equation(equation, other.difference)
    if isinstance(named, Named) and isinstance(other, Items) and other.name is not None and other.name != named.name:
        return False
    return (
        same(gold.value, answer) if isinstance(gold, Named) else isinstance(answer, Named) and same(gold, answer.value)
    )


def _with_argument_of(gold: Named, answer: Named) -> Named:
    """The answer with the gold answer's name for the argument: `f(t) = 2t` becomes `f(x) = 2x`."""
    ours, theirs = gold.symbol, answer.symbol
    if (
        not isinstance(ours, sympy.core.function.AppliedUndef)
        or not isinstance(theirs, sympy.core.function.AppliedUndef)
        or not isinstance(answer.value, Scalar)
        or ours.func != theirs.func
        or len(ours.args) != len(theirs.args)
        or not all(one.is_Symbol for one in (*ours.args, *theirs.args))
        or (set(ours.args) - set(theirs.args)) & answer.value.value.free_symbols
    ):
        return answer
    renamed = answer.value.value.subs(dict(zip(theirs.args, ours.args, strict=True)), simultaneous=True)
    return Named(gold.name, ours, Scalar(answer.value.text, renamed, answer.value.quantity, answer.value.unit))


def _as_equation(named: Named) -> Expr | None:
    if named.symbol is None or not isinstance(named.value, Scalar):
        return None
    return named.symbol - named.value.value


def _same_scalar(gold: Scalar, answer: Scalar) -> bool:
    if gold.quantity is not None and answer.quantity is not None:
        return gold.quantity.agrees_with(answer.quantity)
    if gold.unit is not None and answer.unit is not None:
        if not gold.unit.agrees(answer.unit):
            return False
    elif any(unit is not None and not unit.certain for unit in (gold.unit, answer.unit)):
        return False
    return is_equal(gold.value, answer.value) or _approximates(gold, answer.value) or _approximates(answer, gold.value)


def _approximates(decimal: Scalar, exact: Expr) -> bool:
    """Whether a decimal says, in its written digits, a number that has no end."""
    if (
        decimal.quantity is None
        or decimal.quantity.percent
        or not (exact.is_number and exact.is_extended_real and exact.is_finite)
    ):
        return False
    if exact.is_Rational:
        places = Numeral(Fraction(int(exact.p), int(exact.q)))
        if _is_short(places.number):
            return False
        return decimal.quantity.numeral.stands_for(places.number)
    value = sympy.N(exact, _LOOK)
    return bool(value.is_Float) and decimal.quantity.numeral.stands_for(Fraction(str(value)))


def _is_short(number: Fraction) -> bool:
    scaled = number
    for _ in range(_SHORT_DIGITS + 1):
        if scaled.denominator == 1:
            return True
        scaled *= 10
    return False


def is_equal(left: Expr, right: Expr) -> bool:
    """Whether two formulas are equal wherever both have a value."""
    if left == right:
        return True
    if left.free_symbols != right.free_symbols and not (left - right).has(sympy.core.function.AppliedUndef):
        left, right = sympy.simplify(left), sympy.simplify(right)
        if left.free_symbols != right.free_symbols:
            return False
    difference = left - right
    if difference.is_Rational or not difference.free_symbols and not difference.has(sympy.core.function.AppliedUndef):
        return _numbers_are_equal(left, right)
    if any(one.exp.is_Integer and abs(one.exp) > _LARGEST_EXPONENT for one in difference.atoms(sympy.Pow)):
        raise OverflowError("a power that is too large")
    symbols = sorted(difference.free_symbols, key=str)
    is_complex = difference.has(sympy.I)
    agreed, nowhere = 0, 0
    for point in _POINTS:
        values = {one: sympy.Rational(*point[i % 4].as_integer_ratio()) + i // 4 for i, one in enumerate(symbols)}
        if difference.has(sympy.factorial, sympy.binomial):
            values = {one: sympy.Integer(abs(point[i % 4].numerator) % 23 + 2) for i, one in enumerate(symbols)}
        here, there = left.subs(values), right.subs(values)
        if here.is_Rational and there.is_Rational:
            if here != there:
                return False
            agreed += 1
        elif not is_complex and here.is_real is False and there.is_real is False:
            nowhere += 1  # neither has a value there: `sqrt(1/n)` and `1/sqrt(n)` are one function of n > 0
        elif here.is_number and there.is_number and here.is_finite and there.is_finite:
            if _look_different(here, there, _LOOK):
                return False
            agreed += 1
    if sympy.expand(difference) == 0 or sympy.simplify(difference) == 0:
        return True
    return agreed >= _FEWEST_POINTS and agreed + nowhere == len(_POINTS)


def _numbers_are_equal(left: Expr, right: Expr) -> bool:
    difference = left - right
    if difference == 0:
        return True
    if difference.is_Rational or not (left.is_finite is not False and right.is_finite is not False):
        return False
    if _look_different(left, right, _LOOK):
        return False
    shown = difference.equals(0)
    if shown is not None:
        return bool(shown)
    return sympy.simplify(difference) == 0 or not _look_different(left, right, _LOOK_AGAIN)


def _look_different(left: Expr, right: Expr, digits: int) -> bool:
    """Whether two numbers differ in so many digits; a difference that cancels out altogether counts as none."""
    first, second = (sympy.N(one, digits + 10, maxn=digits * 20) for one in (left, right))
    size = max(abs(first), abs(second))
    return bool(abs(first - second) > size * sympy.Float(10, digits) ** -(digits - 5))


def _same_equation(gold: Expr, answer: Expr) -> bool:
    """Whether one is the other times a number that is not zero, so that both have the same solutions."""
    ratio = _ratio(*(sympy.fraction(sympy.together(one))[0] for one in (gold, answer)))
    return ratio is not None and bool(ratio.is_nonzero)


def _ratio(left: Expr, right: Expr) -> Expr | None:
    """left/right where that is a number, else None."""
    if left.free_symbols != right.free_symbols or sympy.expand(left) == 0 or sympy.expand(right) == 0:
        return None
    if not left.free_symbols and not left.has(sympy.core.function.AppliedUndef):
        return None  # `x = x + 1` says that 1 is 0, of no x
    ratio = sympy.simplify(left / right)
    return ratio if ratio.is_number and not ratio.has(sympy.core.function.AppliedUndef) else None


def _same_region(gold: Shape, answer: Shape) -> bool:
    if isinstance(gold, Scalar) or isinstance(answer, Scalar):
        return False
    expected, found = as_region(gold), as_region(answer)
    if expected is None or found is None:
        return False
    if isinstance(gold, Sequence) and gold.brackets == "()" and not expected.has(sympy.oo, -sympy.oo):
        return False  # it may be a point
    if expected == found:
        return True
    return sympy.SymmetricDifference(expected, found).doit().is_empty is True


def _is_column(matrix: Matrix, sequence: Sequence) -> bool:
    column = [row[0] for row in matrix.rows if len(row) == 1]
    return (
        len(column) == len(matrix.rows) and sequence.brackets in ("()", "[]") and _same_in_order(column, sequence.parts)
    )


def _items_are_sequence(items: Items, sequence: Sequence) -> bool:
    """`1, 2` beside `(1, 2)`; also `x = 1, y = 2` with names in the order of the alphabet."""
    if (
        not items.ordered
        or sequence.brackets == "[]"
        and len(sequence.parts) == 2
        or sequence.brackets not in ("()", "[]")
    ):
        return False
    parts = list(items.parts)
    if all(isinstance(part, Named) for part in parts):
        names = [part.name for part in parts if isinstance(part, Named)]
        if names != sorted(set(names)):
            return False
        parts = [part.value for part in parts if isinstance(part, Named)]
    return _same_in_order(parts, sequence.parts)


def _same_items(gold: Items, answer: Items) -> bool:
    """Whether the values are the same in any order. `1, 2` says `x = 1, y = 2` only in the order of the names."""
    if gold.name is not None and answer.name is not None and gold.name != answer.name:
        return False
    for named, bare in ((gold, answer), (answer, gold)):
        values = _values_by_name(named)
        if values is not None and not any(isinstance(part, Named) for part in bare.parts):
            return bare.ordered and _same_in_order(values, bare.parts)
    return _same_in_any_order(gold.parts, answer.parts)


def _values_by_name(items: Items) -> list[Shape] | None:
    """The values of `x = 1, y = 2` in the order of the names, None where not each has a name of its own.

    `x_1 = 2, x_2 = 3` are two values of one x.
    """
    names = [part.name for part in items.parts if isinstance(part, Named)]
    letters = {name.partition("_")[0] for name in names}
    if len(names) < len(items.parts) or len(letters) < len(names) or len(names) < 2:
        return None
    parts = [part for part in items.parts if isinstance(part, Named)]
    return [part.value for part in sorted(parts, key=lambda part: part.name)]


def _same_in_order(gold: tuple[Shape, ...] | list[Shape], answer: tuple[Shape, ...] | list[Shape]) -> bool:
    return len(gold) == len(answer) and all(map(same, gold, answer))


def _same_in_any_order(gold: tuple[Shape, ...], answer: tuple[Shape, ...]) -> bool:
    left = list(answer)
    if len(gold) != len(left):
        return False
    for part in gold:
        found = next((index for index, other in enumerate(left) if same(part, other)), None)
        if found is None:
            return False
        del left[found]
    return True


def _distinct(parts: tuple[Shape, ...]) -> tuple[Shape, ...]:
    kept: list[Shape] = []
    for part in parts:
        if not any(same(known, part) for known in kept):
            kept.append(part)
    return tuple(kept)
