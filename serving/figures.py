"""Figures as a reader of either language expects them. Used by the templates; the pages' modules ask the browser."""

from datetime import UTC, datetime
from typing import Final

from serving.pages import Language

_NARROW: Final = "\u202f"
"""A narrow space that does not break: between thousands, and before a French per cent sign."""

_MONTHS: Final[dict[Language, tuple[str, ...]]] = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "fr": ("janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."),
}
_UNITS: Final[dict[Language, tuple[str, ...]]] = {
    "en": ("B", "kB", "MB", "GB", "TB"),
    "fr": ("o", "ko", "Mo", "Go", "To"),
}
_STEP: Final = 1000
"""Disks and browsers count in thousands."""


class Figures:
    """Numbers, shares, sizes and moments in one language. None is a dash."""

    def __init__(self, language: Language) -> None:
        self._language = language

    def number(self, value: float | None, digits: int = 0) -> str:
        """With so many decimals."""
        if value is None:
            return "–"
        text = f"{value:,.{digits}f}"
        if self._language == "fr":
            text = text.replace(",", _NARROW).replace(".", ",")
        return text.replace("-", "−")

    def percent(self, share: float | None, digits: int = 0) -> str:
        """A share between 0 and 1 in per cent."""
        if share is None:
            return "–"
        return self.number(100 * share, digits) + (f"{_NARROW}%" if self._language == "fr" else "%")

    def points(self, difference: float) -> str:
        """A difference of shares, in points with a sign."""
        return ("+" if difference >= 0 else "") + self.number(100 * difference, 1)

    def size(self, size: float | None) -> str:
        """Bytes in the unit that leaves one to three digits."""
        if size is None:
            return "–"
        units = _UNITS[self._language]
        power = 0
        while size >= _STEP and power < len(units) - 1:
            size /= _STEP
            power += 1
        return f"{self.number(size, 1 if power and size < 10 else 0)} {units[power]}"

    def dollars(self, value: float | None) -> str:
        """US dollars, to the cent, and below one cent to the first figure that is not zero."""
        if value is None:
            return "–"
        digits = 2 if value == 0 or value >= 0.01 else 5
        return f"{self.number(value, digits)} $" if self._language == "fr" else f"${self.number(value, digits)}"

    def day(self, moment: datetime | str | float) -> str:
        """Day, month and year in UTC."""
        when = _moment(moment)
        return f"{when.day} {_MONTHS[self._language][when.month - 1]} {when.year}"

    def moment(self, moment: datetime | str | float | None) -> str:
        """Day and minute in UTC."""
        if moment is None:
            return "–"
        return f"{self.day(moment)}, {_moment(moment):%H:%M}"

    def duration(self, seconds: float | None) -> str:
        """Seconds, minutes or hours."""
        if seconds is None:
            return "–"
        if seconds < 60:
            return f"{seconds:.0f} s"
        if seconds < 3600:
            return f"{seconds / 60:.0f} min"
        return f"{self.number(seconds / 3600, 1)} h"


def _moment(moment: datetime | str | float) -> datetime:
    if isinstance(moment, datetime):
        return moment.astimezone(UTC)
    if isinstance(moment, str):
        return datetime.fromisoformat(moment).astimezone(UTC)
    return datetime.fromtimestamp(moment, UTC)
