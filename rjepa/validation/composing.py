"""Shapes made out of shapes: several answers, rows, inequalities, determinants. Answers are read in `reading`.

Imported by worker processes only.
"""

import sympy
from sympy import Expr

from rjepa.validation.shapes import Equation, Inequality, Items, Matrix, Named, Region, Scalar, Sequence, Shape
from rjepa.validation.unreadable import UnreadableError


def items(shapes: list[Shape]) -> Shape:
    """Several answers; a name at the first (`x = 1, 2`) or the same at each (`x = 1, x = 2`) is the name of all."""
    ordered = not any(isinstance(shape, Items) for shape in shapes)
    first, name = shapes[0], None
    if isinstance(first, Named) and not any(isinstance(shape, Named | Equation) for shape in shapes[1:]):
        shapes, name = [first.value, *shapes[1:]], first.name
    elif (
        all(isinstance(shape, Named) for shape in shapes)
        and len({shape.name for shape in shapes if isinstance(shape, Named)}) == 1
    ):
        name = first.name if isinstance(first, Named) else None
        shapes = [shape.value for shape in shapes if isinstance(shape, Named)]
    flat = [one for shape in shapes for one in (shape.parts if isinstance(shape, Items) else (shape,))]
    return Items(tuple(flat), name, ordered)


def nested(brackets: str, parts: tuple[Shape, ...]) -> Shape:
    """A tuple; `[[1, 2], [3, 4]]` is a matrix."""
    rows = tuple(part.parts for part in parts if isinstance(part, Sequence) and part.brackets == "[]")
    if brackets == "[]" and len(rows) == len(parts) and len({len(row) for row in rows}) == 1:
        return Matrix(rows)
    return Sequence(brackets, parts)


def inequality(sides: list[Expr], signs: list[str]) -> Shape:
    applied = set().union(*(side.atoms(sympy.core.function.AppliedUndef) for side in sides))
    names = {one: sympy.Symbol(str(one), real=True) for one in applied}
    sides = [side.subs(names) for side in sides]
    symbols = sorted(set().union(*(side.free_symbols for side in sides)), key=str)
    pairs = list(zip(sides, signs, sides[1:], strict=False))
    if len(symbols) != 1:
        if len(pairs) != 1 or not symbols or signs[0] == "!=":
            raise UnreadableError("an inequality of several symbols or none")
        left, sign, right = pairs[0]
        return Inequality(right - left if sign[0] == "<" else left - right, strict=len(sign) == 1)
    region: sympy.Set = sympy.S.Reals
    for left, sign, right in pairs:
        if sign == "!=":
            solutions = sympy.solveset(left - right, symbols[0], sympy.S.Reals)
            region = sympy.Intersection(region, sympy.Complement(sympy.S.Reals, solutions))
            continue
        relation = {"<": sympy.Lt, ">": sympy.Gt, "<=": sympy.Le, ">=": sympy.Ge}[sign](left, right)
        if relation in (sympy.true, sympy.false):
            region = region if relation else sympy.S.EmptySet
        else:
            region = sympy.Intersection(region, relation.as_set())
    return Region(region)


def scaled(rows: tuple[tuple[Shape, ...], ...], factor: Expr) -> tuple[tuple[Shape, ...], ...]:
    return tuple(
        tuple(Scalar("", cell.value * factor) if isinstance(cell, Scalar) else cell for cell in row) for row in rows
    )


def determinant(rows: tuple[tuple[Shape, ...], ...]) -> Shape:
    values = [[cell.value for cell in row if isinstance(cell, Scalar)] for row in rows]
    if any(len(row) != len(rows) for row in values):
        raise UnreadableError("a determinant of no square matrix of formulas")
    return Scalar("", sympy.Matrix(values).det())
