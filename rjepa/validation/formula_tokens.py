r"""The tokens of a formula, and symbols of Unicode as LaTeX writes them. Read by `rjepa.validation.formulas`."""

import re
from dataclasses import dataclass
from typing import Final

from rjepa.validation.formula_values import COMMANDS, FUNCTIONS
from rjepa.validation.unreadable import UnreadableError

MAX_TOKENS: Final = 400
"""Longer formulas are no final answers."""

_NAMES: Final = COMMANDS.keys() | {"log", "pi"}
"""Words that a formula may hold in `\\text` or `\\operatorname`."""

_SYMBOLS: Final = {
    "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "∪": r"\cup ",
    "⩽": r"\leq ",
    "∩": r"\cap ", "∈": r"\in ", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "±": r"\pm ",
    "∓": r"\mp ",
    "−": "-", "－": "-", "²": "^{2}", "³": "^{3}", "°": r"^{\circ}", "º": r"^{\circ}",
    "／": "/", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ",
    "γ": r"\gamma ", "λ": r"\lambda ", "φ": r"\phi ", "ω": r"\omega ", "μ": r"\mu ", "σ": r"\sigma ",
    "∅": r"\emptyset ",
    "⁄": "/", "∕": "/", "＋": "+", "＝": "=", "（": "(", "）": ")", "，": ",", "⩾": r"\geq ", "ℝ": r"\mathbb{R}",
    "ⅈ": "i", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]", "Ω": r"\Omega ", "∖": r"\setminus ",
}  # fmt: skip
_SUPERSCRIPTS = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+")
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUBSCRIPTS = re.compile(r"[₀₁₂₃₄₅₆₇₈₉]+")
_SUBSCRIPT = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")

_TOKEN = re.compile(
    r"(?P<repeating>\d*\.\d*\\(?:overline|bar|dot)\s*\{\d+\})"
    r"|(?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+(?![\d.]))?)"
    r"|(?P<command>\\[a-zA-Z]+|\\[{}|%$])|(?P<word>[a-zA-Z]+)|(?P<power>\*\*|\^)|(?P<space>\s+)"
    r"|(?P<sign>[-+*/!()\[\]{}|_'%,])"
)


@dataclass(frozen=True, slots=True)
class Token:
    """`spaced`: white space stands before it."""

    kind: str
    text: str
    spaced: bool


def latex(text: str) -> str:
    """Unicode symbols and indices as LaTeX writes them."""
    text = _SUPERSCRIPTS.sub(lambda match: "^{" + match[0].translate(_SUPERSCRIPT) + "}", text)
    text = _SUBSCRIPTS.sub(lambda match: "_{" + match[0].translate(_SUBSCRIPT) + "}", text)
    return "".join(_SYMBOLS.get(character, character) for character in text)


def tokenise(text: str) -> list[Token]:
    found: list[Token] = []
    at, spaced = 0, False
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise UnreadableError(f"cannot read {text[at]!r}")
        at, kind = match.end(), match.lastgroup or ""
        if kind == "space":
            spaced = True
            continue
        if match[0] in (r"\text", r"\mathrm", r"\operatorname", r"\textrm", r"\mathit", r"\mbox"):
            inner = re.compile(r"\s*\{\s*([a-zA-Z]+)\s*\}").match(text, at)
            if inner is None:
                raise UnreadableError("words in a formula")
            if len(inner[1]) > 1 and inner[1] not in _NAMES:
                raise UnreadableError(f"{inner[1]!r} is a word")
            at = inner.end()
            is_command = inner[1] in COMMANDS.keys() - FUNCTIONS.keys()
            found.append(Token("command", f"\\{inner[1]}", True) if is_command else Token("word", inner[1], True))
        else:
            found.append(Token(kind, match[0], spaced))
        spaced = False
        if len(found) > MAX_TOKENS:
            raise UnreadableError("too long")
    return found
