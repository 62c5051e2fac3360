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
    "$": "$",
    "us$": "$",
    "usd": "$",
    "dollar": "$",
    "dollars": "$",
    "€": "€",
    "eur": "€",
    "euro": "€",
    "euros": "€",
    "£": "£",
    "gbp": "£",
    "¥": "¥",
    "yen": "¥",
    "jpy": "¥",
    "₹": "₹",
    "rs": "₹",
    "inr": "₹",
    "rupee": "₹",
    "rupees": "₹",
    "yuan": "yuan",
    "rmb": "yuan",
    "cny": "yuan",
    "₩": "₩",
    "won": "₩",
    "₽": "₽",
    "rub": "₽",
    "ruble": "₽",
    "rubles": "₽",
    "peso": "peso",
    "pesos": "peso",
    "franc": "franc",
    "francs": "franc",
    "chf": "franc",
    "¢": "¢",
    "cent": "¢",
    "cents": "¢",
}
"""Signs, codes and words of currencies, in lower case, by what they stand for."""

_PREFIXES = {
    "k": "kilo",
    "c": "centi",
    "m": "milli",
    "d": "deci",
    "M": "mega",
    "G": "giga",
    "T": "tera",
    "µ": "micro",
    "n": "nano",
    "h": "hecto",
    "p": "pico",
}
_PREFIXED = {
    "m": ("meter", "metre"),
    "g": ("gram", "gramme"),
    "s": ("second",),
    "L": ("liter", "litre"),
    "J": ("joule",),
    "W": ("watt",),
    "V": ("volt",),
    "A": ("ampere", "amp"),
    "N": ("newton",),
    "Hz": ("hertz",),
    "Pa": ("pascal",),
    "mol": ("mole",),
    "eV": ("electronvolt",),
    "cal": ("calorie",),
    "B": ("byte",),
    "bit": ("bit",),
    "ohm": ("ohm",),
}
_OTHERS = {
    "min": "minute minutes min mins",
    "h": "hour hours hr hrs",
    "day": "day days",
    "week": "week weeks wk wks",
    "month": "month months",
    "year": "year years yr yrs",
    "decade": "decade decades",
    "century": "century centuries",
    "in": "inch inches in",
    "ft": "foot feet ft",
    "yd": "yard yards yd yds",
    "mi": "mile miles mi",
    "acre": "acre acres",
    "ha": "hectare hectares ha",
    "t": "tonne tonnes",
    "ton": "ton tons",
    "oz": "ounce ounces oz",
    "lb": "lb lbs",
    "pound": "pound pounds",
    "gal": "gallon gallons gal",
    "qt": "quart quarts qt",
    "pt": "pint pints pt",
    "cup": "cup cups",
    "tbsp": "tablespoon tablespoons tbsp",
    "tsp": "teaspoon teaspoons tsp",
    "°": "degree degrees deg °",
    "rad": "radian radians rad rads",
    "rev": "revolution revolutions rev",
    "unit": "unit units",
    "s": "sec secs",
    "rpm": "rpm",
    "°C": "celsius centigrade °C",
    "°F": "fahrenheit °F",
    "K": "kelvin kelvins",
    "knot": "knot knots",
    "person": "person people persons",
    "man": "man men",
    "woman": "woman women",
    "child": "child children",
    "mouse": "mice mouse",
    "sheep": "sheep",
    "fish": "fish",
    "goose": "geese goose",
    "ox": "oxen ox",
    "tooth": "teeth tooth",
    "deer": "deer",
    "box": "box boxes",
    "class": "class classes",
    "point": "point points pts",
    "way": "way ways",
    "mL": "cc ml",
    "atm": "atm",
    "dB": "dB",
    "bus": "bus buses",
    "dish": "dish dishes",
    "glass": "glass glasses",
    "lunch": "lunch lunches",
    "potato": "potato potatoes",
    "tomato": "tomato tomatoes",
    "loaf": "loaf loaves",
    "knife": "knife knives",
    "leaf": "leaf leaves",
    "shelf": "shelf shelves",
}
LONGHAND: Final = {
    "mph": "mile per hour",
    "mps": "meter per second",
    "kph": "km per h",
    "kmh": "km per h",
    "kmph": "km per h",
    "fps": "foot per second",
    "sqm": "square m",
    "sqft": "square ft",
    "sqkm": "square km",
    r"electron[ -]volts?": "eV",
}
"""Short forms of several units in one word, and what they say."""
LONE_LETTERS: Final = frozenset("mgshLJWVNlKAΩ")
"""Unit signs of one letter that are read as units where a space stands before them; elsewhere they are variables."""
DOUBTFUL_LETTERS: Final = frozenset("KA")
"""Unit signs of one letter that stay doubtful behind a space: 5 K is 5 kelvin or 5000, and equals only 5 K."""

ALTERING: Final = frozenset(
    (
        "half halves third thirds quarter quarters fourth fourths fifth fifths sixth eighth tenth tenths pair "
        "pairs score hundreds thousands squared cubed factorial times plus minus less by percent percentage "
        "remainder"
    ).split()
)
"""Words that change the number beside them, in answers and in the equations of steps."""

NO_THING: Final = ALTERING | frozenset(
    (
        "sixths seventh sevenths eighths ninth ninths hundredths thousandths millionths twelfths couple scores "
        "gross tens twelves square cube squares cubes root roots factorials fewer than mod modulo choose over "
        "below under above before after until past to or and not nor no none never neither without except but "
        "if is are was were equals equal divided multiplied power powers negative positive basis pct log logs "
        "ln exp abs sin cos tan sines cosines tangents arcsin arccos arctan max min sqrt inverse reciprocal "
        "short off away instead versus vs infinity alpha beta gamma delta epsilon theta lambda sigma omega phi "
        "psi tau rho as digits decimals places this these those yes its hence thus does has always perhaps "
        "unless one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty "
        "seventy eighty ninety zero ones twos threes fours fives sixes sevens eights nines zeros zeroes mil "
        "mils mio wrong false"
    ).split()
)
"""Words that change, deny or continue the number before them. A text with one of them counts no things."""

FILLERS: Final = frozenset("of per in left the a an total altogether more each every".split())
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
    return known | {
        "kWh": "kWh", "Wh": "Wh", "kwh": "kWh", "gm": "g", "gms": "g", "Ω": "ohm", "kΩ": "kohm", "MΩ": "Mohm",
        "l": "L", "kgs": "kg", "kms": "km", "cms": "cm",
    }  # fmt: skip


SIGNS: Final = _signs()
"""The sign of every known name of a unit of measure or a thing."""

FOREIGN: Final = frozenset("pm am dA hA nB mB cB hs ds cs Ts".split())
"""A sign with a prefix that is no unit: nobody uses it, or it means something else (`pm` is a time of day)."""
