"""The names of units, currencies and scales, and the words that change a number. Tables; they are read in `units`."""

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
SPEEDS = {"mph": "mile per hour", "kph": "km per h", "kmh": "km per h", "kmph": "km per h", "fps": "foot per second"}
LONE_LETTERS = frozenset("mgshLJWVN")
"""Unit signs of one letter that are read as units where a space stands before them; elsewhere they are variables."""

NO_THING = frozenset(
    [
        "half",
        "halves",
        "third",
        "thirds",
        "quarter",
        "quarters",
        "fourth",
        "fourths",
        "fifth",
        "fifths",
        "sixth",
        "sixths",
        "seventh",
        "sevenths",
        "eighth",
        "eighths",
        "ninth",
        "ninths",
        "tenth",
        "tenths",
        "hundredths",
        "thousandths",
        "millionths",
        "twelfths",
        "pair",
        "pairs",
        "couple",
        "score",
        "scores",
        "gross",
        "tens",
        "twelves",
        "hundreds",
        "thousands",
        "squared",
        "cubed",
        "square",
        "cube",
        "squares",
        "cubes",
        "root",
        "roots",
        "factorial",
        "factorials",
        "times",
        "plus",
        "minus",
        "less",
        "fewer",
        "than",
        "by",
        "mod",
        "modulo",
        "choose",
        "over",
        "below",
        "under",
        "above",
        "before",
        "after",
        "until",
        "past",
        "to",
        "or",
        "and",
        "not",
        "nor",
        "no",
        "none",
        "never",
        "neither",
        "without",
        "except",
        "but",
        "if",
        "is",
        "are",
        "was",
        "were",
        "equals",
        "equal",
        "divided",
        "multiplied",
        "power",
        "powers",
        "negative",
        "positive",
        "percent",
        "percentage",
        "basis",
        "pct",
        "log",
        "logs",
        "ln",
        "exp",
        "abs",
        "sin",
        "cos",
        "tan",
        "sines",
        "cosines",
        "tangents",
        "arcsin",
        "arccos",
        "arctan",
        "max",
        "min",
        "sqrt",
        "inverse",
        "reciprocal",
        "remainder",
        "short",
        "off",
        "away",
        "instead",
        "versus",
        "vs",
        "infinity",
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "theta",
        "lambda",
        "sigma",
        "omega",
        "phi",
        "psi",
        "tau",
        "rho",
        "as",
        "digits",
        "decimals",
        "places",
        "this",
        "these",
        "those",
        "yes",
        "its",
        "hence",
        "thus",
        "does",
        "has",
        "always",
        "perhaps",
        "unless",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "twenty",
        "thirty",
        "forty",
        "fifty",
        "sixty",
        "seventy",
        "eighty",
        "ninety",
        "zero",
        "ones",
        "twos",
        "threes",
        "fours",
        "fives",
        "sixes",
        "sevens",
        "eights",
        "nines",
        "zeros",
        "zeroes",
        "mil",
        "mils",
        "mio",
        "wrong",
        "false",
    ]
)
"""Words that change or take back the number beside them, or that join it to another: with one of them, no count."""

FILLERS = frozenset(["of", "per", "in", "left", "the", "a", "an", "total", "altogether", "more", "each", "every"])
"""Words that say nothing about what is counted."""


def _signs() -> dict[str, str]:
    known: dict[str, str] = {}
    for sign, stems in _PREFIXED.items():
        for prefix, long in (("", ""), *_PREFIXES.items()):
            known[prefix + sign] = prefix + sign
            for word in stems:
                known[long + word] = known[long + word + "s"] = prefix + sign
    for sign in ("m", "g", "s", "L"):
        known["μ" + sign] = known["u" + sign] = "µ" + sign
    known |= {prefix + "l": prefix + "L" for prefix in _PREFIXES} | {"KM": "km", "KG": "kg", "Kg": "kg", "Km": "km"}
    for sign, words in _OTHERS.items():
        known |= {sign: sign} | dict.fromkeys(words.split(), sign)
    return known | {"kWh": "kWh", "Wh": "Wh", "kwh": "kWh", "gm": "g", "gms": "g", "Ω": "ohm", "\\Omega": "ohm"}


SIGNS: Final = _signs()
"""The sign of every known name of a unit of measure or a thing."""

FOREIGN = frozenset(
    {"pm", "am", "nm_", "ns_", "dA", "hA", "pA_", "nB", "mB", "cB", "dB_", "pg_", "hs", "ds", "cs", "Ts"}
)
"""Products of a prefix and a sign that nobody writes, or that mean something else (`pm`)."""
