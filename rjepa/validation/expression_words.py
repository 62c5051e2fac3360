"""Words beside the numbers of a step: those that change a number, and units of measure. Read in `expressions`."""

from typing import Final

from rjepa.validation.unit_names import ALTERING

ALTERING_IN_STEPS: Final = ALTERING | frozenset(
    ("dozen dozens hundred thousand million millions billion billions twice double triple thrice k").split()
)
"""Words that change the number beside them; an expression with one of them is unknown."""

_COUNTED: Final = (
    "cent second minute hour day week month year decade century inch yard mile meter metre centimeter millimeter "
    "kilometer gram kilogram milligram ounce ton liter litre milliliter gallon quart pint cup"
).split()
_OTHERS: Final = "feet foot inches pennies mm cm km kg mg lb lbs oz ml mph min mins sec secs hr hrs".split()

MEASURES: Final = {
    **dict.fromkeys("dollar dollars euro euros pound pounds".split(), "money"),
    **{word + plural: word for word in _COUNTED for plural in ("", "s")},
    **{word: word for word in _OTHERS},
}
"""The measure that each word names. Sums of two measures are not judged: they may convert into each other."""
