"""Where a row's text ends before its chain does: at the first of the strings that it is to stop at.

Strings are looked for in bytes: a string may span tokens, and a token may hold half a character. Text that may turn out
to be the beginning of such a string is held back until that is known, so that no stream shows any of it.
"""

from collections.abc import Sequence


class StopWatch:
    """Reads one row's text as it grows. `cut` is where the text ends, in bytes; None while nothing stopped it. `begun`
    are the bytes that the row began with.
    """

    def __init__(self, stops: Sequence[str], beginning: bytes = b"") -> None:
        """beginning: what the row began with. A string that lies in it as a whole stops nothing."""
        self.cut: int | None = None
        self.begun = len(beginning)
        self._stops = [stop.encode() for stop in stops]
        self._text = bytearray(beginning)
        self._shown = len(beginning)

    def read(self, piece: bytes) -> bytes:
        """Take in the row's next bytes; returns those that can be shown now."""
        before = len(self._text)
        self._text += piece
        found = [self._text.find(stop, max(0, before - len(stop) + 1)) for stop in self._stops]
        self.cut = min((at for at in found if at >= 0), default=None)
        return self._up_to(len(self._text) - self._held() if self.cut is None else self.cut)

    @property
    def shown(self) -> int:
        """How much of the text was shown so far, in bytes; what the row began with counts."""
        return self._shown

    def rest(self) -> bytes:
        """What was held back for a string that never came; nothing where one did."""
        return self._up_to(len(self._text)) if self.cut is None else b""

    def _up_to(self, end: int) -> bytes:
        shown = bytes(self._text[self._shown : end])
        self._shown = max(self._shown, end)
        return shown

    def _held(self) -> int:
        """Bytes at the end that a stop string may begin with."""
        return max(
            (size for stop in self._stops for size in range(1, len(stop)) if self._text.endswith(stop[:size])),
            default=0,
        )
