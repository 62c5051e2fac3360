r"""Read an answer as what it is: a formula, a list, a set, a tuple or interval, a matrix, an equation, words.

    read("x = 1, 2", is_gold=True)      # Items of 1 and 2, named x
    read(r"[0,1) \cup (2,3]", ...)      # a Region

The shapes stand in `rjepa.validation.shapes`, formulas are read in `rjepa.validation.formulas`. What cannot
surely be read raises `UnreadableError`. Imported by worker processes only.
"""

import re
from typing import Final

import sympy

from rjepa.validation.answers import read_quantity, tidy
from rjepa.validation.composing import determinant, inequality, items, nested, scaled
from rjepa.validation.equivalence import same
from rjepa.validation.formula_tokens import latex
from rjepa.validation.formulas import read_formula
from rjepa.validation.matrices import matrix_text
from rjepa.validation.mixed_measures import measures_of, quotient_and_remainder
from rjepa.validation.naming import name_in_signs, name_in_words, symbol_of
from rjepa.validation.program_notation import as_formula
from rjepa.validation.shapes import (
    Collection,
    Equation,
    Items,
    Matrix,
    Named,
    Region,
    Scalar,
    Sequence,
    Shape,
    Words,
    as_region,
)
from rjepa.validation.spelling import ascii_digits, is_malformed, plain, undressed
from rjepa.validation.splitting import CLOSING, OPENING, depth_at, dips, split, with_thousands
from rjepa.validation.units import read_unit
from rjepa.validation.unreadable import UnreadableError

_MAX_DEPTH: Final = 12

_AND_OR = re.compile(
    r"\s*[,;]?\s*\\(?:text|mbox|textrm|mathrm)\s*\{\s*,?\s*(?P<set>and|or)\s*\}\s*[,;]?\s*"
    r"|(?:\s*[,;]\s*|\s+|(?<=[\d)\]}]))(?P<word>and|or)(?:\s+|(?=[(\[{\d\\]))|\s*\\(?P<sign>lor|vee|land|wedge)(?![a-zA-Z])\s*",
    re.IGNORECASE,
)
_AMPERSAND = re.compile(r"\s+\\?&\s+")
_RELATION = re.compile(
    r"\\(?:leqslant|geqslant|leq|geq|le|ge|lt|gt|neq|ne)(?![a-zA-Z])|\\not\s*=|<=|>=|!=|==|:=|=|<|>|&lt;|&gt;"
)
_RELATIONS = {
    r"\leqslant": "<=", r"\leq": "<=", r"\le": "<=", r"\geqslant": ">=", r"\geq": ">=",
    r"\ge": ">=", r"\lt": "<", r"\gt": ">",
    r"\neq": "!=", r"\ne": "!=", "==": "=", ":=": "=", "&lt;": "<", "&gt;": ">",
}  # fmt: skip
_SET_SIGNS = re.compile(r"\\(?:cup|cap|setminus|backslash|bigcup)(?![a-zA-Z])")
_ABOUT = re.compile(r"\\(?:approx|simeq|doteq|thickapprox)(?![a-zA-Z])|≈|≃|~=")
_SEMICOLON = re.compile(";")
_COLON = re.compile(r":|\\colon(?![a-zA-Z])")
_IN = re.compile(r"\\in(?![a-zA-Z])")
_PLUS_MINUS = re.compile(r"\\(pm|mp)(?![a-zA-Z])|\+/-")
_REALS = re.compile(r"\\(?:mathbb|Bbb|mathbf|mathrm)\s*\{?\s*R\s*\}?|\\R(?:eals)?(?![a-zA-Z])")
_SUCH_THAT = re.compile(
    rf"^\s*(?P<member>\\?[a-zA-Z]+)\s*(?:\\in\s*(?:{_REALS.pattern})\s*)?(?:\\mid(?![a-zA-Z])|\\vert(?![a-zA-Z])|\\colon(?![a-zA-Z])|[|:])"
    r"(?P<condition>.+)$",
    re.DOTALL,
)
_REALS_IN_WORDS = re.compile(
    r"(?:\\text\s*\{\s*)?(?:all|any|every|the)?\s*(?:real numbers?|reals)\s*\}?", re.IGNORECASE
)
_REALS_WITHOUT = re.compile(rf"^({_REALS.pattern})\s*-\s*(?=\\?\{{)")
_EMPTY = re.compile(r"\\(?:emptyset|varnothing|O)(?![a-zA-Z])|\\\{\s*\\\}|\{\s*\}")
_FRENCH = re.compile(r"^(?P<open>[\[\]])(?P<inner>[^\[\]]+[,;][^\[\]]+)(?P<close>[\[\]])$")
_WORDS = re.compile(r"[^\W\d_]+(?:[\s'’.-]+[^\W\d_]+)*[.!]?")
_NO_SOLUTION = re.compile(r"^(?:there (?:is|are) |it has |has )?(no (?:real )?solution)s?(?: exists?)?$")
_UNIT_START = re.compile(
    r"\s+(?=[^\s\\])|(?=\\(?:text|mathrm|textrm|mbox|textbf|operatorname)\s*\{)|(?=°)|(?=\^\s*\{?\s*\\circ)"
)


def read(answer: str, *, is_gold: bool) -> Shape:
    """The shape of an answer.

    Raises:
        UnreadableError: it cannot surely be read.
        OverflowError: a number in it is too large to be worked out.
    """
    if is_malformed(answer):
        raise UnreadableError("LaTeX that breaks off")
    return _Reader(is_gold).shape(as_formula(ascii_digits(undressed(answer))), 0)


class _Reader:
    def __init__(self, is_gold: bool) -> None:
        self._is_gold = is_gold

    def shape(self, text: str, depth: int) -> Shape:
        text = undressed(_without_thin_dress(text))
        if depth > _MAX_DEPTH:
            raise UnreadableError("too deeply nested")
        if not text:
            raise UnreadableError("nothing to read")
        text = _with_round_brackets(text)
        return (
            self._several(text, depth)
            or self._region(text, depth)
            or self._approximate(text, depth)
            or self._relation(text, depth)
            or self._enclosed(text, depth)
            or self._matrix(text, depth)
            or self._ratio(text, depth)
            or self._plus_minus(text, depth)
            or self._mixed_measures(text)
            or self._single(text)
        )

    def _several(self, text: str, depth: int) -> Shape | None:
        if "\\begin" not in text:
            text = _AMPERSAND.sub(" and ", text)
        joined = "".join(_joiner(match) for match in _AND_OR.finditer(text))
        text = _AND_OR.sub(", ", text) if _AND_OR.search(text) and not _is_prose(text) else text
        groups = split(text, _SEMICOLON)
        if len(groups) > 1 and any(len(split(group)) > 1 for group in groups):
            return Items(tuple(self.shape(group, depth + 1) for group in groups))
        parts = split(text)
        if len(parts) == 1:
            return None
        if not parts[-1].strip():
            parts = parts[:-1]
        shapes = [self.shape(part, depth + 1) for part in parts]
        if len(shapes) == 1:
            return shapes[0]
        regions = [shape.numbers for shape in shapes if isinstance(shape, Region)]
        if joined and len(regions) == len(shapes) and joined in ("o" * len(joined), "a" * len(joined)):
            return Region(sympy.Union(*regions) if joined[0] == "o" else sympy.Intersection(*regions))
        return items(shapes)

    def _region(self, text: str, depth: int) -> Shape | None:
        pieces = split(text, _IN)
        if len(pieces) == 2:
            symbol = symbol_of(pieces[0])
            if symbol is None:
                raise UnreadableError("what lies in the set?")
            return self.shape(pieces[1], depth + 1)
        if _REALS.fullmatch(text) or _REALS_IN_WORDS.fullmatch(text):
            return Region(sympy.S.Reals)
        text = _REALS_WITHOUT.sub(r"\1\\setminus ", text)
        if _EMPTY.fullmatch(text):
            return Collection(())
        signs = [match[0] for match in _SET_SIGNS.finditer(text) if depth_at(text, match.start()) == 0]
        if not signs:
            return None
        numbers: list[sympy.Set] = []
        for piece in split(text, _SET_SIGNS):
            part = as_region(self.shape(piece, depth + 1))
            if part is None:
                raise UnreadableError("a union of something else than sets of numbers")
            numbers.append(part)
        if len(numbers) != len(signs) + 1 or (len(set(signs)) > 1):
            raise UnreadableError("which of the sets come first?")
        if signs[0] == r"\cap":
            return Region(sympy.Intersection(*numbers))
        if signs[0] in (r"\setminus", r"\backslash"):
            return Region(sympy.Complement(numbers[0], sympy.Union(*numbers[1:])))
        return Region(sympy.Union(*numbers))

    def _approximate(self, text: str, depth: int) -> Shape | None:
        """`x = 1/3 ≈ 0.33` says 1/3 where its decimal says so too; `x ≈ 0.33` says 0.33."""
        sides = split(text, _ABOUT)
        if len(sides) == 1:
            return None
        first, *others = sides
        if not first.strip() or symbol_of(first) is not None:
            if len(others) != 1:
                raise UnreadableError("several approximations")
            return self.shape(f"{first}={others[0]}" if first.strip() else others[0], depth + 1)
        exact = self.shape(first, depth + 1)
        value = exact.value if isinstance(exact, Named) else exact
        for other in others:
            rounded = self.shape(other, depth + 1)
            if not (
                isinstance(value, Scalar)
                and isinstance(rounded, Scalar)
                and rounded.quantity is not None
                and value.value.is_number
            ):
                raise UnreadableError("an approximation of what?")
            place = rounded.quantity.numeral.place or 1
            if not bool(abs(value.value - rounded.value) <= sympy.Rational(place.numerator, place.denominator)):
                raise UnreadableError("an approximation of something else")
        return exact

    def _ratio(self, text: str, depth: int) -> Shape | None:
        parts = split(text, _COLON)
        if any(re.match(r"\s*0\d", part) for part in parts):
            raise UnreadableError("a ratio or a time of day?")
        return None if len(parts) == 1 else Sequence("::", tuple(self.shape(part, depth + 1) for part in parts))

    def _relation(self, text: str, depth: int) -> Shape | None:
        sides = split(text, _RELATION)
        if len(sides) == 1:
            return None
        found = [match[0] for match in _RELATION.finditer(text) if depth_at(text, match.start()) == 0]
        signs = [_RELATIONS.get(sign, "!=" if sign.startswith(r"\not") else sign) for sign in found]
        if signs == ["="] and not sides[0].strip():
            return self.shape(sides[1], depth + 1)  # `= 73`
        if any(not side.strip() for side in sides):
            raise UnreadableError("a side is missing")
        if set(signs) == {"="}:
            return self._equation(sides, depth)
        if "=" in signs:
            raise UnreadableError("equations and inequalities mixed")
        return inequality([read_formula(latex(side)) for side in sides], signs)

    def _equation(self, sides: list[str], depth: int) -> Shape:
        symbol = symbol_of(sides[0])
        if symbol is None and (words := name_in_words(sides[0])) is not None:
            return Named(words, None, self._agreeing(sides[1:], depth))
        if symbol is not None:
            value = self._agreeing(sides[1:], depth)
            if not (isinstance(value, Scalar) and value.value.has(symbol)):
                return Named(str(symbol), symbol, value)
        elif (last := symbol_of(sides[-1])) is not None:
            value = self._agreeing(sides[:-1], depth)
            if not (isinstance(value, Scalar) and value.value.has(last)):
                return Named(str(last), last, value)
        if (sign := name_in_signs(sides[0])) is not None:
            return Named(sign, None, self._agreeing(sides[1:], depth))
        formulas = [read_formula(latex(side)) for side in sides]
        if not any(formula.free_symbols for formula in formulas):
            return self._agreeing(sides, depth)
        if len(sides) > 2:
            raise UnreadableError("a chain of equations")
        return Equation(formulas[0] - formulas[1])

    def _agreeing(self, sides: list[str], depth: int) -> Shape:
        """What all sides say, the last one's spelling.

        Raises:
            UnreadableError: they do not say the same.
        """
        shapes = [self.shape(side, depth + 1) for side in sides]
        if any(not same(first, shapes[-1]) for first in shapes[:-1]):
            raise UnreadableError("its sides are not equal")
        return shapes[-1]

    def _enclosed(self, text: str, depth: int) -> Shape | None:
        is_set = text.startswith(r"\{") and text.endswith(r"\}")
        if not is_set and not (text[0] in OPENING and text[-1] in CLOSING and len(text) > 2):
            return None
        inner = text[2:-2] if is_set else text[1:-1]
        if text[0] in "\\{" and (described := self._described(inner, depth)) is not None:
            return described
        if depth_at(text, len(text) - 1) != 1 or dips(inner):
            return None
        inner = with_thousands(inner) if re.search(r",\s", inner) else inner
        parts = split(inner.replace(";", ","))
        is_set = is_set or text[0] == "{"
        if len(parts) == 1 and not is_set:
            return (
                None
                if _PLUS_MINUS.search(inner) is None and text[0] == "(" and _is_formula(text)
                else self.shape(inner, depth + 1)
            )
        shapes = tuple(self.shape(part, depth + 1) for part in parts)
        if is_set:
            flat = [one for part in shapes for one in (part.parts if isinstance(part, Items) else (part,))]
            return Collection(tuple(flat))
        if any(isinstance(shape, Items) for shape in shapes):
            raise UnreadableError("several values within a tuple")
        return nested(text[0] + text[-1], shapes)

    def _described(self, inner: str, depth: int) -> Shape | None:
        r"""`\{x \mid x > 2\}`: the numbers for which it holds, None where no set is described."""
        match = _SUCH_THAT.match(inner)
        if match is None:
            return None
        condition, member = self.shape(match["condition"], depth + 1), symbol_of(match["member"])
        if (
            member is None
            or not isinstance(condition, Region)
            or not re.search(rf"(?<![a-zA-Z\\]){re.escape(match['member'].strip())}(?![a-zA-Z])", match["condition"])
        ):
            raise UnreadableError("a set of what?")
        return condition

    def _matrix(self, text: str, depth: int) -> Shape | None:
        written = matrix_text(text)
        if written is None:
            return None
        rows = tuple(tuple(self.shape(cell, depth + 1) for cell in row) for row in written.rows)
        if written.factor:
            rows = scaled(rows, read_formula(latex(written.factor)))
        return determinant(rows) if written.is_determinant else Matrix(rows)

    def _plus_minus(self, text: str, depth: int) -> Shape | None:
        found = list(_PLUS_MINUS.finditer(text))
        if not found:
            return None
        if len(found) > 1:
            raise UnreadableError("do the signs change together?")
        before, after = text[: found[0].start()], text[found[0].end() :]
        if before.rstrip().endswith(("^", "_")):
            raise UnreadableError("a sign of what?")
        both = (self.shape(f"{before}{sign}{after}", depth + 1) for sign in "+-")
        return Items(tuple(both), ordered=False)

    def _mixed_measures(self, text: str) -> Shape | None:
        """`2 hours 30 minutes` and `7 R 2`: several numbers that are one answer; None for others."""
        words = plain(text)
        divided = quotient_and_remainder(words)
        if divided is not None:
            return Sequence("R", tuple(self._single(one) for one in divided))
        pieces = measures_of(words)
        return Items(tuple(map(self._single, pieces)), "mixed measures") if pieces else None

    def _single(self, text: str) -> Shape:
        quantity = read_quantity(tidy(plain(text)), is_gold=self._is_gold)
        if quantity is not None:
            value = sympy.Rational(quantity.numeral.number.numerator, quantity.numeral.number.denominator)
            return Scalar(text, value / 100 if quantity.percent else value, quantity, quantity.unit)
        for match in _UNIT_START.finditer(text):
            head, tail = text[: match.start()].strip(), plain(text[match.end() :])
            unit = read_unit(tail) if head else None
            is_set_as_text = text[match.end() :].startswith("\\")
            if unit is None or not (is_set_as_text or (unit.factors and len(tail) > 1)):
                continue
            try:
                return Scalar(head, read_formula(latex(head)), None, unit)
            except UnreadableError:
                continue
        try:
            return Scalar(text, read_formula(latex(text)))
        except UnreadableError:
            words = plain(text)
            if _WORDS.fullmatch(words) and len(words) > 1:
                return Words(_NO_SOLUTION.sub(r"\1", " ".join(words.split()).rstrip(".!").casefold()))
            raise


def _without_thin_dress(text: str) -> str:
    return re.sub(r"\$", "", text).strip() if text.count("$") > 1 and "\\$" not in text else text.strip()


def _with_round_brackets(text: str) -> str:
    text = re.sub(r"\\langle(?![a-zA-Z])|⟨", "(", re.sub(r"\\rangle(?![a-zA-Z])|⟩", ")", text))
    text = re.sub(r"^<([^<>=]+,[^<>=]+)>$", r"(\1)", text)
    text = re.sub(r"(?<=[)\]])\s*U\s*(?=[(\[])", r"\\cup ", text)
    french = _FRENCH.match(text)
    if french is not None and (french["open"] == "]" or french["close"] == "["):
        return ("(" if french["open"] == "]" else "[") + french["inner"] + (")" if french["close"] == "[" else "]")
    return latex(text)


def _joiner(match: re.Match[str]) -> str:
    word = (match["set"] or match["word"] or match["sign"]).lower()
    return "o" if word in ("or", "lor", "vee") else "a"


def _is_prose(text: str) -> bool:
    """Whether words stand around the `and`: `salt and pepper` is one answer."""
    return re.search(r"\d|\\(?!text)|[=<>^]|\b[a-zA-Z]\b", text) is None


def _is_formula(text: str) -> bool:
    try:
        read_formula(latex(text))
    except UnreadableError:
        return False
    return True
