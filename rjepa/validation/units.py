"""What may stand behind a number without changing it: units of measure, currencies, things that are counted.

`read_unit("square centimetres")` and `read_unit("cm²")` are the same unit; `read_unit("million")` is none, and
neither is `read_unit("n")`: what is not known is not taken for a unit. The names stand in
`rjepa.validation.unit_names`, numbers are read in `rjepa.validation.answers`. Units are not
converted into each other: 5 km is not 5000 m here.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from rjepa.validation.unit_names import (
    CURRENCIES,
    DOUBTFUL_LETTERS,
    FILLERS,
    FOREIGN,
    LONE_LETTERS,
    LONGHAND,
    NO_THING,
    SCALES,
    SIGNS,
)

MAX_UNIT: Final = 60
"""Characters; `dollars per square metre of floor` has 32."""

_MAX_WORDS: Final = 5

_ADJACENT = re.compile(r"[·⋅*]|\\cdot|\\times")
_PIECE = re.compile(r"(?P<name>[^\W\d_]+|°[CF]?|[$€£¥₹₩₽¢])\.?(?:\^?\{?(?P<power>-?[1-9])\}?)?$")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*$")


@dataclass(frozen=True)
class Unit:
    """A unit: `factors` are signs with their powers, in order; `words` instead where things are counted.

    `certain` is False for a lone letter right behind a number (`5m`), which may be a variable, and for a word that
    is not known to be a thing (`5 apple`): such a unit says something only beside the same one.
    """

    factors: tuple[tuple[str, int], ...] = ()
    words: str = ""
    certain: bool = True

    def agrees(self, other: "Unit") -> bool:
        """Whether both name the same unit. `pound` is money and weight."""
        if self.words or other.words:
            return self.words == other.words
        return len(self.factors) == len(other.factors) and all(
            power == other_power and (name == other_name or {name, other_name} in ({"pound", "lb"}, {"pound", "£"}))
            for (name, power), (other_name, other_power) in zip(self.factors, other.factors, strict=True)
        )

    @property
    def key(self) -> str:
        """One text for every spelling of this unit."""
        return self.words or "·".join(name if power == 1 else f"{name}^{power}" for name, power in self.factors)


@lru_cache(maxsize=4096)
def read_unit(text: str, *, glued: bool = False) -> Unit | None:
    """The unit that `text` names, None where it is not known to be one.

    Args:
        text: what stands behind a number, without a per cent sign.
        glued: no space stands between them.
    """
    text = text.strip().rstrip(".").strip() or text.strip()
    if not text or len(text) > MAX_UNIT:
        return None
    return _measure(text, glued) or _things(text, glued)


def _measure(text: str, glued: bool) -> Unit | None:
    """A unit of measure: names with powers, joined by `per`, `/` or a product sign."""
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda match: "^" + match[0].translate(_SUPERSCRIPTS), text)
    text = re.sub(r"°\s+([CF])\b", r"°\1", text.replace("**", "^"))
    text = re.sub(r"\b(?:degrees?|deg)\s+(celsius|centigrade|fahrenheit)\b", r"\1", text, flags=re.IGNORECASE)
    text = re.sub(r"\b(?:degrees?|deg)\s+([CF])\b", r"°\1", text)
    for short, meaning in LONGHAND.items():
        text = re.sub(rf"(?i)\b{short}\b", meaning, text)
    text = re.sub(r"/\s*\(([^()]*)\)$", r"/\1", text)
    text = re.sub(r"\s*\^\s*", "^", _ADJACENT.sub(" ", text))
    text = re.sub(r"\s+an?\s+(?=hour|minute|second|day|week|month|year)", " per ", text)
    pieces = re.sub(r"\s*/\s*|\s+per\s+|^per\s+", " / ", text.replace("-", " ") if "^-" not in text else text).split()
    if not pieces or len(pieces) > 9:
        return None
    powers: dict[str, int] = {}
    sign, factor = 1, 1
    for index, piece in enumerate(pieces):
        if piece == "/":
            if sign == -1 or index + 1 == len(pieces):
                return None  # `m/s/s` is read in two ways
            sign = -1
            continue
        if piece.lower() in ("square", "sq", "sq.", "cubic", "cu", "cu."):
            factor = 2 if piece.lower().startswith("s") else 3
            if index + 1 == len(pieces):
                return None
            continue
        if piece.lower() in ("squared", "cubed"):
            if index == 0 or pieces[index - 1] in ("/", "square", "cubic"):
                return None
            last = next(reversed(powers))
            powers[last] *= 2 if piece.lower() == "squared" else 3
            continue
        match = _PIECE.match(piece)
        name = _name(match["name"]) if match else None
        if match is None or name is None:
            return None
        powers[name] = powers.get(name, 0) + sign * int(match["power"] or factor)
        factor = 1
    factors = tuple(sorted((name, power) for name, power in powers.items() if power))
    certain = not (glued and text[0] in LONE_LETTERS and not text[1:2].isalpha()) and text not in DOUBTFUL_LETTERS
    return Unit(factors, certain=certain) if factors else None


def _name(text: str) -> str | None:
    if len(text) == 1 and text.isalpha() and text not in LONE_LETTERS:
        return None
    if text in SIGNS and text not in FOREIGN:
        return SIGNS[text]
    lower = text.lower()
    if lower in CURRENCIES:
        return CURRENCIES[lower]
    return SIGNS.get(lower) if len(lower) > 2 else None


def _things(text: str, glued: bool) -> Unit | None:
    """Things that are counted: plain words, one of which is a plural or a known unit, and none changes the number."""
    words = text.split()
    if glued or len(words) > _MAX_WORDS or not all(_WORD.match(word) for word in words):
        return None
    lower = [word.lower() for word in words]
    bare = [word for word in lower if word not in FILLERS]
    if not bare or any(len(word) < 3 or word in NO_THING or word in SCALES for word in bare):
        return None
    if lower[0] in FILLERS and lower[0] not in ("more", "the"):
        return None
    return Unit(words=" ".join(map(_singular, bare)), certain=any(map(_is_thing, bare)))


def _is_thing(word: str) -> bool:
    return (
        word in SIGNS
        or word in CURRENCIES
        or (len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")))
    )


def _singular(word: str) -> str:
    if word in SIGNS:
        return SIGNS[word]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
