"""What may stand behind a number without changing it: units of measure, currencies, things that are counted.

`read_unit("square centimetres")` and `read_unit("cm²")` are the same unit; `read_unit("million")` is none, and neither is
`read_unit("n")`: what is not known here is not taken for a unit. Words that scale a number (`million`) are in `SCALES`.
Numbers are read in `rjepa.validation.answers`. Units are not converted into each other: 5 km is not 5000 m here.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

SCALES: Final = {
    "hundred": 10**2,
    "thousand": 10**3,
    "lakh": 10**5,
    "lakhs": 10**5,
    "million": 10**6,
    "millions": 10**6,
    "crore": 10**7,
    "crores": 10**7,
    "billion": 10**9,
    "billions": 10**9,
    "trillion": 10**12,
    "trillions": 10**12,
    "dozen": 12,
    "dozens": 12,
}
"""Words that multiply the number before them."""

MONEY_SCALES: Final = {"k": 10**3, "K": 10**3, "m": 10**6, "M": 10**6, "mn": 10**6, "bn": 10**9, "B": 10**9, "b": 10**9}
"""Letters that multiply an amount of money (`$5k`). Behind a number without a currency they may be variables."""

MAX_UNIT: Final = 60
"""Characters; `dollars per square metre of floor` has 32."""

_MAX_WORDS: Final = 5

CURRENCIES: Final = {
    "$": "$", "us$": "$", "usd": "$", "dollar": "$", "dollars": "$", "€": "€", "eur": "€", "euro": "€", "euros": "€",
    "£": "£", "gbp": "£", "¥": "¥", "yen": "¥", "jpy": "¥", "₹": "₹", "rs": "₹", "inr": "₹", "rupee": "₹", "rupees": "₹",
    "yuan": "yuan", "rmb": "yuan", "cny": "yuan", "₩": "₩", "won": "₩", "₽": "₽", "rub": "₽", "ruble": "₽", "rubles": "₽",
    "peso": "peso", "pesos": "peso", "franc": "franc", "francs": "franc", "chf": "franc", "¢": "¢", "cent": "¢", "cents": "¢",
}  # fmt: skip
"""Signs, codes and words of currencies, in lower case, by what they stand for."""

_PREFIXES = {
    "k": "kilo", "c": "centi", "m": "milli", "d": "deci", "M": "mega", "G": "giga", "T": "tera", "µ": "micro",
    "n": "nano", "h": "hecto", "p": "pico",
}  # fmt: skip
_PREFIXED = {
    "m": ("meter", "metre"), "g": ("gram", "gramme"), "s": ("second",), "L": ("liter", "litre"), "J": ("joule",),
    "W": ("watt",), "V": ("volt",), "A": ("ampere", "amp"), "N": ("newton",), "Hz": ("hertz",), "Pa": ("pascal",),
    "mol": ("mole",), "eV": ("electronvolt",), "cal": ("calorie",), "B": ("byte",), "bit": ("bit",), "ohm": ("ohm",),
}  # fmt: skip
_OTHERS = {
    "min": "minute minutes min mins", "h": "hour hours hr hrs", "day": "day days", "week": "week weeks wk wks",
    "month": "month months", "year": "year years yr yrs", "decade": "decade decades", "century": "century centuries",
    "in": "inch inches in", "ft": "foot feet ft", "yd": "yard yards yd yds", "mi": "mile miles mi", "acre": "acre acres",
    "ha": "hectare hectares ha", "t": "tonne tonnes", "ton": "ton tons", "oz": "ounce ounces oz", "lb": "lb lbs",
    "pound": "pound pounds", "gal": "gallon gallons gal", "qt": "quart quarts qt", "pt": "pint pints pt",
    "cup": "cup cups", "tbsp": "tablespoon tablespoons tbsp", "tsp": "teaspoon teaspoons tsp", "°": "degree degrees deg °",
    "rad": "radian radians rad rads", "rev": "revolution revolutions rev", "unit": "unit units",
    "s": "sec secs", "bps": "bps", "rpm": "rpm", "°C": "celsius centigrade °C", "°F": "fahrenheit °F", "K": "kelvin kelvins",
    "knot": "knot knots", "person": "person people persons", "man": "man men", "woman": "woman women",
    "child": "child children", "mouse": "mice mouse", "sheep": "sheep", "fish": "fish", "goose": "geese goose",
    "ox": "oxen ox", "tooth": "teeth tooth", "deer": "deer", "box": "box boxes", "class": "class classes",
    "point": "point points pts", "way": "way ways", "mL": "cc ml", "atm": "atm", "dB": "dB",
    "bus": "bus buses", "dish": "dish dishes", "glass": "glass glasses", "lunch": "lunch lunches", "potato": "potato potatoes",
    "tomato": "tomato tomatoes", "loaf": "loaf loaves", "knife": "knife knives", "leaf": "leaf leaves", "shelf": "shelf shelves",
}  # fmt: skip
_SPEEDS = {"mph": "mile per hour", "kph": "km per h", "kmh": "km per h", "kmph": "km per h", "fps": "foot per second"}
_LONE_LETTERS = frozenset("mgshLJWVN")
"""Unit signs of one letter that are read as units where a space stands before them; elsewhere they are variables."""

_NO_THING = frozenset(
    "half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh sevenths eighth eighths "
    "ninth ninths tenth tenths hundredths thousandths millionths twelfths pair pairs couple score scores gross tens twelves "
    "hundreds thousands squared cubed square cube squares cubes root roots factorial factorials times plus minus less fewer "
    "than by mod modulo choose over below under above before after until past to or and not nor no none never neither "
    "without except but if is are was were equals equal divided multiplied power powers negative positive percent percentage "
    "basis pct log logs ln exp abs sin cos tan sines cosines tangents arcsin arccos arctan max min sqrt inverse reciprocal "
    "remainder short off away instead versus vs infinity alpha beta gamma delta epsilon theta lambda sigma omega phi psi tau "
    "rho as digits decimals places this these those yes its hence thus does has always perhaps unless one two three four "
    "five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty seventy eighty ninety zero ones twos threes "
    "fours fives sixes sevens eights nines zeros zeroes mil mils mio wrong false".split()
)
"""Words that change or take back the number beside them, or that join it to another: with one of them, no count."""

_FILLERS = frozenset("of per in left the a an total altogether more each every".split())
"""Words that say nothing about what is counted."""

_ADJACENT = re.compile(r"[·⋅*]|\\cdot|\\times")
_PIECE = re.compile(r"(?P<name>[^\W\d_]+|°[CF]?|[$€£¥₹₩₽¢])\.?(?:\^?\{?(?P<power>-?[1-9])\}?)?$")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*$")


@dataclass(frozen=True)
class Unit:
    """A unit: `factors` are signs with their powers, in order; `words` instead where things are counted.

    `certain` is False for a lone letter right behind a number (`5m`), which may be a variable, and for a word that is not
    known to be a thing (`5 apple`): such a unit says something only beside the same one.
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


def _signs() -> dict[str, str]:
    known: dict[str, str] = {}
    for sign, words in _PREFIXED.items():
        for prefix, long in (("", ""), *_PREFIXES.items()):
            known[prefix + sign] = prefix + sign
            for word in words:
                known[long + word] = known[long + word + "s"] = prefix + sign
    for sign in ("m", "g", "s", "L"):
        known["μ" + sign] = known["u" + sign] = "µ" + sign
    known |= {prefix + "l": prefix + "L" for prefix in _PREFIXES} | {"KM": "km", "KG": "kg", "Kg": "kg", "Km": "km"}
    for sign, words in _OTHERS.items():
        known |= {sign: sign} | dict.fromkeys(words.split(), sign)
    return known | {"kWh": "kWh", "Wh": "Wh", "kwh": "kWh", "gm": "g", "gms": "g", "Ω": "ohm", "\\Omega": "ohm"}


_SIGNS = _signs()
_FOREIGN = frozenset({"pm", "am", "nm_", "ns_", "dA", "hA", "pA_", "nB", "mB", "cB", "dB_", "pg_", "hs", "ds", "cs", "Ts"})
"""Products of a prefix and a sign that nobody writes, or that mean something else (`pm`)."""


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
    text = re.sub(r"°\s+([CF])\b", r"°\1", text)
    text = re.sub(r"\b(?:degrees?|deg)\s+(celsius|centigrade|fahrenheit)\b", r"\1", text, flags=re.IGNORECASE)
    text = re.sub(r"\b(?:degrees?|deg)\s+([CF])\b", r"°\1", text)
    for speed, meaning in _SPEEDS.items():
        text = re.sub(rf"(?i)\b{speed}\b", meaning, text)
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
    certain = not (glued and text[0] in _LONE_LETTERS and not text[1:2].isalpha())
    return Unit(factors, certain=certain) if factors else None


def _name(text: str) -> str | None:
    if len(text) == 1 and text.isalpha() and text not in _LONE_LETTERS:
        return None
    if text in _SIGNS and text not in _FOREIGN:
        return _SIGNS[text]
    lower = text.lower()
    if lower in CURRENCIES:
        return CURRENCIES[lower]
    return _SIGNS.get(lower) if len(lower) > 2 else None


def _things(text: str, glued: bool) -> Unit | None:
    """Things that are counted: plain words, one of which is a plural or a known unit, and none changes the number."""
    words = text.split()
    if glued or len(words) > _MAX_WORDS or not all(_WORD.match(word) for word in words):
        return None
    lower = [word.lower() for word in words]
    bare = [word for word in lower if word not in _FILLERS]
    if not bare or any(len(word) < 3 or word in _NO_THING or word in SCALES for word in bare):
        return None
    if lower[0] in _FILLERS and lower[0] not in ("more", "the"):
        return None
    return Unit(words=" ".join(map(_singular, bare)), certain=any(map(_is_thing, bare)))


def _is_thing(word: str) -> bool:
    return word in _SIGNS or word in CURRENCIES or (len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")))


def _singular(word: str) -> str:
    if word in _SIGNS:
        return _SIGNS[word]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
