"""Moments as the database holds them, whole milliseconds since 1970, and as people read them."""

from datetime import UTC, datetime
from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS


def to_datetime(moment_ms: int) -> datetime:
    """The moment in UTC."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC)


def to_iso(moment_ms: int) -> str:
    """The moment in UTC, ISO 8601, to the second."""
    return to_datetime(moment_ms).isoformat(timespec="seconds")
