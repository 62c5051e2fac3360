"""Is a leaderboard possible at all? What no honest evaluation can show points to a mistake in it."""

from typing import Final

from rjepa.evaluation.leaderboard import Leaderboard

ORACLE: Final = "oracle"
_NOT_CHOSEN: Final = "greedy"
"""A chain of its own, and so not one of the candidates that the oracle chooses from."""

_ROUNDING: Final = 1e-9


def implausible_rows(board: Leaderboard) -> list[str]:
    """Rows above the oracle of their domain, or outside their own interval, each in words."""
    found = []
    for row in board.rows:
        best = board.row(ORACLE, row.domain).accuracy
        if row.method != _NOT_CHOSEN and row.accuracy > best + _ROUNDING:
            found.append(f"{row.method} on {row.domain}: {row.accuracy:.3f}, above the oracle's {best:.3f}")
        if not row.ci_low - _ROUNDING <= row.accuracy <= row.ci_high + _ROUNDING:
            found.append(f"{row.method} on {row.domain}: outside its interval")
    return found
