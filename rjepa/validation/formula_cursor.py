"""A place among the tokens of a formula, and what is read there that holds no formula itself: signs, indices, the
fraction of a mixed number. Formulas are read in `rjepa.validation.formulas`.

Imported by worker processes only.
"""

from sympy import Expr, Rational, Symbol

from rjepa.validation.formula_tokens import Token
from rjepa.validation.unreadable import UnreadableError


class Cursor:
    """The tokens of one formula, read from the left. Every method but `peek` passes over what it reads."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens, self._at = tokens, 0

    def peek(self, ahead: int = 0) -> str | None:
        """The text of the next token, or of one behind it; None at the end."""
        index = self._at + ahead
        return self._tokens[index].text if index < len(self._tokens) else None

    def _signs(self) -> int:
        """1 or -1, what the signs here come to; 0 where there are none."""
        sign = 0
        while self.peek() in ("+", "-"):
            sign = (sign or 1) * (-1 if self.peek() == "-" else 1)
            self._at += 1
        return sign

    def _exponent_is_degree(self) -> bool:
        r"""Whether `^\circ` stands here; only then it is passed over."""
        after = [self.peek(ahead) for ahead in (1, 2, 3)]
        length = 2 if after[0] == r"\circ" else 4 if after == ["{", r"\circ", "}"] else 0
        self._at += length
        return length > 0

    def _proper_fraction(self) -> Expr | None:
        r"""The fraction of a mixed number (`2\frac{1}{2}`, `2 1/2`), None where none follows."""
        texts = [self.peek(ahead) for ahead in range(7)]
        if texts[0] == r"\frac" and texts[1] == texts[4] == "{" and texts[3] == texts[6] == "}":
            top, bottom, length = texts[2], texts[5], 7
        elif texts[0] == r"\frac" and (texts[1] or "").isdigit() and len(texts[1] or "") == 2:
            top, bottom, length = (texts[1] or "")[0], (texts[1] or "")[1], 2
        elif texts[1] == "/" and self._at < len(self._tokens) and self._tokens[self._at].spaced:
            top, bottom, length = texts[0], texts[2], 3
        else:
            return None
        if not (top and bottom and top.isdigit() and bottom.isdigit()):
            return None
        if int(top) >= int(bottom):
            raise UnreadableError("a whole number beside an improper fraction")
        self._at += length
        return Rational(int(top), int(bottom))

    def _in_base(self, digits: str) -> Expr:
        """`1011_2`: digits in a base are only themselves, because a value does not answer for them."""
        self._at += 1
        base = self._index()
        if not digits.isdigit():
            raise UnreadableError("a base of a decimal number")
        return Symbol(f"{digits} in base {base}", real=True)

    def _index(self) -> str:
        """The text of an index, behind its `_`."""
        if self.peek() != "{":
            text = self.peek() or ""
            if not text.isalnum():
                raise UnreadableError("an index is missing")
            self._at += 1
            return text
        parts = []
        self._at += 1
        while self.peek() != "}":
            if self.peek() is None or self.peek() == "{":
                raise UnreadableError("an index that does not end")
            parts.append(self.peek() or "")
            self._at += 1
        self._at += 1
        return "".join(parts)

    def _indexed(self, symbol: Expr) -> Expr:
        """The symbol with the index behind it, if there is one: `x_1`."""
        if self.peek() != "_":
            return symbol
        self._at += 1
        return Symbol(f"{symbol}_{self._index()}", real=True)

    def _marked(self, name: str) -> Symbol:
        r"""The symbol that stands under a mark: `\vec{a}`, `\hat x`."""
        if self.peek() == "{":
            return Symbol(f"{name} {self._index()}", real=True)
        token = self.peek() or ""
        if not token.isalnum() or len(token) != 1:
            raise UnreadableError(f"\\{name} of what?")
        self._at += 1
        return Symbol(f"{name} {token}", real=True)
