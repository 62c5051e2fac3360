r"""What the side of an equation names: a symbol, a quantity (`AB`, `f'(x)`, `P(X = 2)`), something in words.

Imported by worker processes only.
"""

import re

import sympy
from sympy import Expr

from rjepa.validation.formula_tokens import latex
from rjepa.validation.formulas import read_formula
from rjepa.validation.spelling import plain
from rjepa.validation.unreadable import UnreadableError

_IN_SIGNS = re.compile(
    r"[a-zA-Z]'{1,3}(?:\([a-zA-Z0-9]\))?|[a-zA-Z]\^(?:-1|\{-1\})\([a-zA-Z0-9]\)"
    r"|\\[dt]?frac\{d(?:\^\{?\d\}?)?[a-zA-Z]?\}\{d[a-z](?:\^\{?\d\}?)?\}|d[a-z]/d[a-z]"
    r"|(?:[PEN]|Var|\\Pr|\\(?:mathbb|mathrm|operatorname|text)\{(?:P|E|Var)\})[(\[][^()\[\]]{1,40}[)\]]"
    r"|\\(?:int|iint|oint|sum|prod|lim|det|gcd|max|min)(?![a-zA-Z]).{1,200}"
    r"|[A-Z]{2,4}|\|[A-Z]{2}\||m?\\(?:angle|triangle)[A-Z]{1,3}|\[[A-Z]{3,6}\]"
    r"|(?P<one>[a-zA-Z](?:_(?:\w|\{\w+\}))?)(?::[a-zA-Z](?:_(?:\w|\{\w+\}))?)+|\(\\?[a-zA-Z]+(?:_\w|_\{\w+\})?(?:,\\?[a-zA-Z]+(?:_\w|_\{\w+\})?)+\)"
)
"""Names of segments, angles, areas, ratios and tuples, of derivatives, inverses, probabilities, integrals and sums."""
_IN_WORDS = re.compile(r"(?=.*[^\W\d_]{4})[^\W\d_]+(?:\s+[^\W\d_]+){0,5}")
_NO_NAME = frozenset("not no never isn neither nor if or and false wrong".split())
"""Words that deny or join: with one of them, words name nothing."""


def symbol_of(text: str) -> Expr | None:
    """The symbol or `f(x)` that a side is alone, None where it is more."""
    try:
        formula = read_formula(latex(text.strip()))
    except UnreadableError:
        return None
    return formula if isinstance(formula, sympy.Symbol | sympy.core.function.AppliedUndef) else None


def name_in_signs(text: str) -> str | None:
    r"""What stands for one quantity without being a symbol: `AB`, `|AB|`, `\angle A`, `A:B`, `(p, q)`."""
    bare = re.sub(r"\s+", "", text)
    return bare if _IN_SIGNS.fullmatch(bare) else None


def name_in_words(text: str) -> str | None:
    """`Total cost` as `total cost`; None for other texts."""
    words = plain(text.strip())
    return words.casefold() if _IN_WORDS.fullmatch(words) and not _NO_NAME & set(words.lower().split()) else None
