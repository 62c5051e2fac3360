"""Propositional logic by truth table: read a formula, and does a conclusion follow from premises?

    entails(["p -> q", "p"], "q")                    # True
    counterexample(["p or q"], "p")                  # {"p": False, "q": True}

Words or signs: not ~ ! ¬, and & ∧, or | ∨, implies -> => →, iff <-> <=> ↔, `if A then B`, true, false, parentheses.
`not` binds most, then and, or, implies (to the right), iff. Up to 12 variables: a table has 4 096 rows, and a column of
it is one integer, so that a connective is one operation on integers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rjepa.errors import InvalidInputError

MAX_VARIABLES: Final = 12
MAX_LENGTH: Final = 2000
"""Characters of one formula."""

_MAX_DEPTH = 60
_CURE = "write it with variables, not, and, or, implies, iff and parentheses"

_TOKEN = re.compile(r"\s*(?:(<->|<=>|->|=>|\|\||&&|[()~!¬&∧|∨→⇒↔⇔⊃≡])|([A-Za-z][A-Za-z0-9_]*))")
_WORDS = {
    "not": "not", "~": "not", "!": "not", "¬": "not", "and": "and", "&": "and", "&&": "and", "∧": "and", "or": "or",
    "|": "or", "||": "or", "∨": "or", "implies": "implies", "->": "implies", "=>": "implies", "→": "implies",
    "⇒": "implies", "⊃": "implies", "iff": "iff", "<->": "iff", "<=>": "iff", "↔": "iff", "⇔": "iff", "≡": "iff",
    "if": "if", "then": "then", "(": "(", ")": ")", "true": "true", "false": "false",
}  # fmt: skip

Relation = Literal["entailed", "contradicted", "undetermined", "inconsistent_premises"]


class FormulaError(InvalidInputError):
    """A text that is no propositional formula, or one that is too large for a truth table."""


@dataclass(frozen=True)
class Formula:
    """A connective with its operands, or a variable or constant (`operands` empty)."""

    name: str
    operands: tuple["Formula", ...] = ()

    def variables(self) -> frozenset[str]:
        """The names that occur in it."""
        if self.operands:
            return frozenset().union(*(operand.variables() for operand in self.operands))
        return frozenset() if self.name in ("true", "false") else frozenset([self.name])


def parse_formula(text: str) -> Formula:
    """Read a formula.

    Raises:
        FormulaError: it cannot be read, or is longer or deeper than what is sensible.
    """
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"a formula of {len(text)} characters; at most {MAX_LENGTH}", cure=_CURE)
    return _Parser(text).run()


def relation(premises: Sequence[str | Formula], conclusion: str | Formula) -> Relation:
    """How a conclusion stands to premises.

    Raises:
        FormulaError: a formula cannot be read, or there are more than MAX_VARIABLES variables.
    """
    given, wanted, names = _read(premises, conclusion)
    holds, column = _columns(given, wanted, names)
    if holds == 0:
        return "inconsistent_premises"
    if holds & ~column == 0:
        return "entailed"
    return "contradicted" if holds & column == 0 else "undetermined"


def entails(premises: Sequence[str | Formula], conclusion: str | Formula) -> bool:
    """Whether the conclusion is true wherever all premises are. Contradictory premises entail everything."""
    return relation(premises, conclusion) in ("entailed", "inconsistent_premises")


def equivalent(left: str | Formula, right: str | Formula) -> bool:
    """Whether two formulae are true in the same rows."""
    return entails([left], right) and entails([right], left)


def counterexample(premises: Sequence[str | Formula], conclusion: str | Formula) -> dict[str, bool] | None:
    """A row in which the premises are true and the conclusion is not; None where there is none."""
    given, wanted, names = _read(premises, conclusion)
    holds, column = _columns(given, wanted, names)
    rows = holds & ~column
    if rows == 0:
        return None
    row = (rows & -rows).bit_length() - 1
    return {name: bool(row >> index & 1) for index, name in enumerate(names)}


def _read(premises: Sequence[str | Formula], conclusion: str | Formula) -> tuple[list[Formula], Formula, list[str]]:
    given = [parse_formula(one) if isinstance(one, str) else one for one in premises]
    wanted = parse_formula(conclusion) if isinstance(conclusion, str) else conclusion
    names = sorted(frozenset().union(*(one.variables() for one in [*given, wanted])))
    if len(names) > MAX_VARIABLES:
        raise FormulaError(f"{len(names)} variables; at most {MAX_VARIABLES}", cure="use fewer variables")
    return given, wanted, names


def _columns(given: list[Formula], wanted: Formula, names: list[str]) -> tuple[int, int]:
    """The rows where all premises hold and the conclusion's column, one bit a row of the truth table."""
    rows = 1 << len(names)
    everywhere = (1 << rows) - 1
    values = {"true": everywhere, "false": 0}
    for index, name in enumerate(names):
        period = 1 << index  # `index` zeros and ones in turn: 0101..., 0011..., 00001111...
        block = ((1 << period) - 1) << period
        values[name] = block * (everywhere // ((1 << 2 * period) - 1))
    holds = everywhere
    for formula in given:
        holds &= _value(formula, values, everywhere)
    return holds, _value(wanted, values, everywhere)


def _value(formula: Formula, values: dict[str, int], everywhere: int) -> int:
    if not formula.operands:
        return values[formula.name]
    sides = [_value(operand, values, everywhere) for operand in formula.operands]
    if formula.name == "not":
        return everywhere ^ sides[0]
    left, right = sides
    if formula.name == "and":
        return left & right
    if formula.name == "or":
        return left | right
    if formula.name == "implies":
        return (everywhere ^ left) | right
    return everywhere ^ left ^ right


class _Parser:
    """Recursive descent, one method a level of binding."""

    def __init__(self, text: str) -> None:
        self._text, self._tokens, self._at, self._depth = text, _tokens(text), 0, 0

    def run(self) -> Formula:
        formula = self._iff()
        if self._at < len(self._tokens):
            raise self._error(f"{self._tokens[self._at]!r} follows a whole formula")
        return formula

    def _error(self, problem: str) -> FormulaError:
        return FormulaError(f"{self._text[:80]!r} is no formula: {problem}", cure=_CURE)

    def _next_is(self, name: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == name:
            self._at += 1
            return True
        return False

    def _iff(self) -> Formula:
        left = self._implies()
        while self._next_is("iff"):
            left = Formula("iff", (left, self._implies()))
        return left

    def _implies(self) -> Formula:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(f"deeper than {_MAX_DEPTH} levels")
        if self._next_is("if"):
            left = self._or()
            if not self._next_is("then"):
                raise self._error("`if` without `then`")
            formula = Formula("implies", (left, self._implies()))
        else:
            formula = self._or()
            if self._next_is("implies"):
                formula = Formula("implies", (formula, self._implies()))
        self._depth -= 1
        return formula

    def _or(self) -> Formula:
        left = self._and()
        while self._next_is("or"):
            left = Formula("or", (left, self._and()))
        return left

    def _and(self) -> Formula:
        left = self._not()
        while self._next_is("and"):
            left = Formula("and", (left, self._not()))
        return left

    def _not(self) -> Formula:
        negations = 0
        while self._next_is("not"):
            negations += 1
        formula = self._atom()
        return Formula("not", (formula,)) if negations % 2 else formula

    def _atom(self) -> Formula:
        if self._next_is("("):
            formula = self._iff()
            if not self._next_is(")"):
                raise self._error("a parenthesis that is not closed")
            return formula
        if self._at == len(self._tokens):
            raise self._error("it ends too early")
        name = self._tokens[self._at]
        if name in _WORDS.values() and name not in ("true", "false"):
            raise self._error(f"{name!r} where a variable is needed")
        self._at += 1
        return Formula(name)


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise FormulaError(f"{text[:80]!r} is no formula: {text[at]!r} cannot be read", cure=_CURE)
        found = match[1] or match[2]
        tokens.append(_WORDS.get(found) or _WORDS.get(found.lower()) or found)
        at = match.end()
    return tokens
