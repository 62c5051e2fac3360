r"""Read one formula, in LaTeX or as programs write it, into sympy. A small strict parser; nothing is run or guessed.

Reads numbers, letters, `\pi`, `e`, `i`, sums, products (implied ones too), fractions, powers, roots, binomials,
absolute values, the usual functions, symbols with an index. Whatever is not surely understood raises `UnreadableError`:
a long word, `1/2x`, `2^3^4`, sums with bounds, integrals. Lists and equations are read in `rjepa.validation.reading`.

Decimals become exact fractions. The base of a `\log` without one is a symbol, for some mean 10 and some e.
Imported by worker processes only: sympy takes a second to load.
"""

from typing import Final

import sympy
from sympy import Expr, Integer, Symbol

from rjepa.validation.formula_cursor import Cursor
from rjepa.validation.formula_tokens import Token, tokenise
from rjepa.validation.formula_values import (
    APPLIED,
    COMMANDS,
    DEGREE,
    FUNCTIONS,
    GREEK,
    INVERSES,
    LOG_BASE,
    MARKS,
    WORDS,
    binomial,
    decimal,
    factorial,
    letter,
    raised,
    repeating,
)
from rjepa.validation.unreadable import UnreadableError

_MAX_DEPTH: Final = 40
_BETWEEN_OR_BEHIND: Final = frozenset("cdot times div ast } % rfloor rceil rvert | pm mp $".split())
"""Commands that no factor begins with."""


def read_formula(text: str) -> Expr:
    """The formula that the whole text is.

    Raises:
        UnreadableError: it is none, or can be read in two ways.
        OverflowError: a number in it is too large to be worked out.
    """
    tokens = tokenise(text)
    if not tokens:
        raise UnreadableError("nothing to read")
    parser = _Parser(tokens)
    value = parser.sum()
    if parser.peek() is not None:
        raise UnreadableError(f"cannot go on at {parser.peek()}")
    if value.has(sympy.nan, sympy.zoo):
        raise UnreadableError("not a number")
    return value


class _Parser(Cursor):
    """Recursive descent over the tokens of one formula."""

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self._depth, self._in_bars = 0, 0

    def sum(self) -> Expr:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise UnreadableError("too deeply nested")
        start = self._at
        sign = self._signs() or 1
        if self._depth == 1 and self._at - start > 1:
            raise UnreadableError("two signs in front: a dash or minus minus?")
        total: Expr = sign * self._product()
        while self.peek() in ("+", "-"):
            sign = self._signs()
            total += sign * self._product()
        self._depth -= 1
        return total

    def _product(self) -> Expr:
        """Factors, side by side or joined by signs. Behind `/` stands one factor: `a/b c` is read in two ways."""
        value = self._beside()
        while True:
            operator = self.peek()
            if operator in ("*", r"\cdot", r"\times", r"\ast"):
                self._at += 1
                value *= (self._signs() or 1) * self._beside()
            elif operator in ("/", r"\div"):
                self._at += 1
                divisor = (self._signs() or 1) * self._power()
                if divisor.is_zero:
                    raise UnreadableError("a division by zero")
                if self._starts_factor():
                    raise UnreadableError("`a/b c` is read in two ways")
                value /= divisor
            else:
                return value

    def _beside(self) -> Expr:
        r"""Factors side by side: `2\pi r`."""
        value = self._power(leading=True)
        while self._starts_factor():
            if self._tokens[self._at].kind in ("number", "repeating"):
                raise UnreadableError("numbers side by side")
            value *= self._power()
        return value

    def _starts_factor(self) -> bool:
        if self._at >= len(self._tokens):
            return False
        token = self._tokens[self._at]
        if token.text == "|":
            return self._in_bars == 0
        if token.kind in ("number", "repeating", "word"):
            return True
        if token.kind == "command":
            return token.text[1:] not in _BETWEEN_OR_BEHIND
        return token.text in ("(", "{")

    def _power(self, *, leading: bool = False) -> Expr:
        """One factor with its powers, factorials and per cent signs."""
        start = self._at
        base = self._atom(leading=leading)
        powered = False
        while True:
            following = self.peek()
            if following in ("^", "**"):
                if self._exponent_is_degree():
                    base *= DEGREE
                    continue
                if powered:
                    raise UnreadableError("a power of a power without parentheses")
                self._at += 1
                exponent = self._tower() if following == "**" else self._exponent()
                base, powered = raised(base, exponent), True
            elif following == "!":
                if self.peek(1) == "!" or powered:
                    raise UnreadableError("which factorial?")
                self._at += 1
                base = factorial(base)
            elif following in ("%", r"\%"):
                self._at += 1
                base = base / 100
            elif following == "'" and isinstance(base, Symbol) and self._at == start + 1:
                self._at += 1
                base = Symbol(base.name + "'", real=True)
                start += 1
            else:
                return base

    def _tower(self) -> Expr:
        """An exponent as programs read it: `2**3**4` is 2**(3**4)."""
        return (self._signs() or 1) * self._power()

    def _exponent(self) -> Expr:
        if self.peek() == "{":
            return self._braced()
        sign = self._signs() or 1
        exponent = self._atom(leading=True)
        if self.peek() == "!":
            raise UnreadableError("a power or its factorial?")
        return sign * exponent

    def _braced(self) -> Expr:
        if self.peek() != "{":
            return self._one_sign()
        return self._enclosed("{", "}")

    def _one_sign(self) -> Expr:
        r"""The argument of `\frac12`: one digit or letter of the next token."""
        if self._at >= len(self._tokens):
            raise UnreadableError("something is missing at the end")
        token = self._tokens[self._at]
        if token.kind == "number" and token.text.isdigit():
            value: Expr = Integer(int(token.text[0]))
        elif token.kind == "word":
            value = letter(token.text[0])
        elif token.kind == "command":
            return self._atom()
        else:
            raise UnreadableError("an argument without braces")
        if len(token.text) > 1:
            self._tokens[self._at] = Token(token.kind, token.text[1:], False)
        else:
            self._at += 1
        return value

    def _enclosed(self, opening: str, closing: str) -> Expr:
        if self.peek() != opening:
            raise UnreadableError(f"{opening} is missing")
        self._at += 1
        bars, self._in_bars = self._in_bars, 0
        value = self.sum()
        self._in_bars = bars
        if self.peek() != closing:
            raise UnreadableError(f"{closing} is missing")
        self._at += 1
        return value

    def _atom(self, *, leading: bool = False) -> Expr:
        if self._at >= len(self._tokens):
            raise UnreadableError("something is missing at the end")
        token = self._tokens[self._at]
        if token.text == "(":
            return self._enclosed("(", ")")
        if token.text == "{":
            return self._enclosed("{", "}")
        if token.text == "|" and not self._in_bars:
            return self._bars("|")
        self._at += 1
        match token.kind:
            case "number":
                return self._number(token.text, leading=leading)
            case "repeating":
                return repeating(token.text)
            case "word":
                return self._word(token.text)
            case "command":
                return self._command(token.text[1:])
        raise UnreadableError(f"{token.text!r} where a number or symbol is needed")

    def _bars(self, closing: str) -> Expr:
        self._at += 1
        self._in_bars += 1
        value = self.sum()
        self._in_bars -= 1
        if self.peek() != closing:
            raise UnreadableError("a bar is missing")
        self._at += 1
        return sympy.Abs(value)

    def _number(self, text: str, *, leading: bool) -> Expr:
        number = decimal(text)
        if self.peek() == "_":
            return self._in_base(text)
        part = self._proper_fraction() if text.isdigit() else None
        if part is None:
            return number
        if not leading:
            raise UnreadableError("a mixed number inside a product")
        return number + part

    def _word(self, text: str) -> Expr:
        if text in FUNCTIONS or text == "log":
            return self._function(text)
        if text in WORDS:
            return WORDS[text]
        if text in GREEK and len(text) > 2:
            return self._indexed(Symbol(text, real=True))
        for name in ("sqrt", "pi", "ln", "sin", "cos", "tan", "log", "exp"):
            if text.endswith(name) and 0 < len(text) - len(name) <= 2:
                self._tokens.insert(self._at, Token("word", name, False))
                return self._word(text[: -len(name)])
            if text.startswith(name) and name in ("pi", "sqrt") and 0 < len(text) - len(name) <= 2:
                self._tokens.insert(self._at, Token("word", text[len(name) :], False))
                return self._word(name)
        if len(text) > 3:
            raise UnreadableError(f"{text!r} is a word")
        if len(text) > 1:  # `xy` is a product
            self._tokens.insert(self._at, Token("word", text[1:], False))
            return letter(text[0])
        if text in APPLIED and self.peek() == "(":
            return self._applied(text)
        return self._indexed(letter(text))

    def _applied(self, name: str) -> Expr:
        arguments = [self._argument_in("(", (")", ","))]
        while self.peek(-1) == ",":
            arguments.append(self._argument_in("", (")", ",")))
        return sympy.Function(name, real=True)(*arguments)

    def _argument_in(self, opening: str, closing: tuple[str, ...]) -> Expr:
        if opening:
            self._at += 1
        value = self.sum()
        if self.peek() not in closing:
            raise UnreadableError("a parenthesis is missing")
        self._at += 1
        return value

    def _command(self, name: str) -> Expr:
        if name == "frac":
            top, bottom = self._braced(), self._braced()
            if bottom.is_zero:
                raise UnreadableError("a division by zero")
            return top / bottom
        if name == "sqrt":
            return self._root()
        if name in ("binom", "dbinom", "tbinom"):
            return binomial(self._braced(), self._braced())
        if name in COMMANDS or name == "log":
            return self._function(name)
        if name in ("pi", "infty"):
            return sympy.pi if name == "pi" else sympy.oo
        if name in ("imath", "jmath"):
            return sympy.I
        if name in GREEK:
            return self._indexed(Symbol(name, real=True))
        if name in MARKS:
            return self._indexed(self._marked(name))
        if name in ("lfloor", "lceil", "lvert"):
            value = self._argument_in("", ("\\r" + name[1:],))
            return {"lfloor": sympy.floor, "lceil": sympy.ceiling, "lvert": sympy.Abs}[name](value)
        raise UnreadableError(f"\\{name}")

    def _root(self) -> Expr:
        degree: Expr = Integer(2)
        if self.peek() == "[":
            degree = self._enclosed("[", "]")
        if self.peek() == "(":
            value = self._enclosed("(", ")")
        elif self.peek() == "{":
            value = self._braced()
        elif self._at < len(self._tokens) and self._tokens[self._at].kind == "number":
            value = decimal(self._tokens[self._at].text)
            self._at += 1
        else:
            value = self._one_sign()
        if degree.is_integer and degree.is_odd and value.is_negative:
            return -((-value) ** (1 / degree))
        return value ** (1 / degree)

    def _function(self, name: str) -> Expr:
        base: Expr | None = None
        power: Expr | None = None
        while self.peek() in ("_", "^", "**"):
            mark = self.peek()
            self._at += 1
            if mark == "_":
                if name != "log" or base is not None:
                    raise UnreadableError("a function with an index")
                base = self._braced() if self.peek() == "{" else self._one_sign()
            elif power is not None:
                raise UnreadableError("two powers")
            else:
                power = self._exponent()
        argument = self._argument()
        if power == -1:
            if name not in INVERSES:
                raise UnreadableError("an inverse or a power?")
            return INVERSES[name](argument)
        if name == "log":
            value = sympy.log(argument) / sympy.log(LOG_BASE if base is None else base)
        else:
            value = COMMANDS[name](argument)
        return value if power is None else value**power

    def _argument(self) -> Expr:
        """What a function is of: a parenthesis, or numbers and one symbol behind it."""
        if self.peek() in ("(", "{"):
            return self._enclosed("(", ")") if self.peek() == "(" else self._braced()
        if self.peek() == "[":
            return self._enclosed("[", "]")
        sign = -1 if self.peek() == "-" else 1
        self._at += sign == -1
        value, symbols, count = Integer(sign), 0, 0
        while self._starts_factor() and not self._is_function() and self.peek() != "(":
            token = self._tokens[self._at]
            if count and token.kind == "number":
                raise UnreadableError("numbers side by side")
            value *= self._power()
            count += 1
            symbols += token.kind != "number" and token.text not in (r"\pi", "pi")
            if symbols > 1:
                raise UnreadableError("how far does the argument go?")
        if not count:
            raise UnreadableError("a function of nothing")
        if self.peek() == "/" and self._tokens[self._at].kind == "sign":
            raise UnreadableError("how far does the argument go?")
        return value

    def _is_function(self) -> bool:
        text = (self.peek() or "").lstrip("\\")
        return (text in FUNCTIONS and text != "sqrt") or text == "log"
