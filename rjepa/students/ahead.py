"""How many tokens a session draws in one call, before anybody sees them, joins or stops it.

How they are drawn is `rjepa.students.native_passes`; what follows from them, `rjepa.students.events`.
"""

from dataclasses import dataclass
from typing import Final

AHEAD: Final = 128
"""Tokens of all rows that are drawn at most before others may join: some ten milliseconds of a small student's."""
_SMALL: Final = 1_500_000
"""Weights of a student up to which it draws so many; a larger one draws as many fewer."""
_SHOWN: Final = 8
"""Tokens of a row that come together at most where somebody reads along: a blink of a small student's."""
_BEYOND: Final = 8
"""Tokens of each row that a call draws at most past what may have ended one of them; as many as there are rows, where
those are fewer. With many rows some line ends at nearly every token, and what is drawn for a row after its end costs
less than one more call."""


@dataclass(frozen=True)
class Sight:
    """What the reader of a run sees: `tokens`, with `one_by_one` each before the next is drawn; ends of `steps`, at
    which rows wait where it runs `by_step`.
    """

    tokens: bool
    steps: bool
    one_by_one: bool
    by_step: bool


def tokens_ahead(hidden_size: int, layers: int, vocabulary: int) -> int:
    """Tokens of all rows that a student of this shape draws in one call."""
    weights = hidden_size * (12 * hidden_size * layers + vocabulary)
    return max(1, min(AHEAD, AHEAD * _SMALL // weights))


def most_and_least(sight: Sight, ahead: int, rows: int, kept: bool) -> tuple[int, int]:
    """Tokens of each row that a call draws at most, where only some tokens can end anything, and at least, whatever
    they end.

    Args:
        ahead: as `tokens_ahead`.
        kept: the caches of some rows are wanted as they are at their end.
    """
    if sight.tokens and sight.one_by_one:
        return 1, 1
    most = max(1, ahead // rows)
    least = 1 if sight.steps or kept else min(_BEYOND, rows)
    return (min(most, _SHOWN) if sight.tokens else most), least
