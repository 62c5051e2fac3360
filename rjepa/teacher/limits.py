"""Requests and tokens per minute of one endpoint, shared by all its calls, retries included.

The bucket itself is aiolimiter's. A bucket of size B that leaks r a second lets at most B + 60 r through in any minute,
and one call's tokens, saved up piece by piece, go out at once: r keeps the sum of it all at the endpoint's limit.
"""

import asyncio
import math
from dataclasses import dataclass
from typing import Final

from aiolimiter import AsyncLimiter

_MINUTE: Final = 60.0
_BURST: Final = 0.01
"""Share of a minute's allowance that may go out at once: small, so that 99 % of it is left for the steady rate."""
_CAUTION: Final = 0.99
"""Share of a limit that is used, because requests may arrive closer together than they were sent."""
_CREDIT: Final = 2
"""Calls' worth of tokens that may be given back and not yet taken again: several calls often end together."""
_LEAST_RATE: Final = 0.5
"""Share of the limit that is used even where single calls are so large that keeping clear of them would leave less."""


@dataclass
class CallUsage:
    """What one call may use and has used: it is handed along with the call and filled in by its attempts."""

    tokens: int
    """Tokens that one attempt may use at most; 0 for a request that is no call to a model."""
    taken: float = 0.0
    """Tokens that its attempts took from the allowance of the minute."""
    attempts: int = 0
    doubtful: int = 0
    """Attempts that were sent and not answered: they may have been billed."""
    streams: bool = False
    """Whether an answer of server-sent events is handed over as it comes, and not when it is whole."""


class RateLimits:
    """Both limits of one endpoint. None is no limit."""

    def __init__(self, rpm: float | None, tpm: float | None, largest_call: int) -> None:
        self._requests = _bucket(rpm, max(1.0, math.floor(_BURST * rpm)), 1) if rpm else None
        self._piece = max(1.0, _BURST / 2 * (tpm or 0))
        self._largest = float(min(largest_call, tpm or 0))
        self._max_credit, self._max_debt = _CREDIT * self._largest, tpm or 0.0
        self._tokens = _bucket(tpm, self._piece, self._largest + self._max_credit) if tpm else None
        self._credit = 0.0
        self._queue = asyncio.Lock()

    async def admit(self, usage: CallUsage) -> None:
        """Wait until one more attempt of this call may be sent. First come, first served."""
        async with self._queue:  # aiolimiter lets small calls overtake large ones, which might then wait for ever
            if self._requests is not None:
                await self._requests.acquire()
            if self._tokens is not None:
                wanted = min(float(usage.tokens), self._largest)
                self._credit -= wanted
                while self._credit < 0:  # in pieces: what calls in flight give back meanwhile shortens the wait
                    piece = min(-self._credit, self._piece)
                    await self._tokens.acquire(piece)
                    self._credit += piece
                usage.taken += wanted

    def settle(self, usage: CallUsage, used: int) -> None:
        """Give back what a call took and did not use; what it used beyond, the next one waits for, up to a minute."""
        if self._tokens is not None:
            credit = self._credit + usage.taken - used
            self._credit = min(max(credit, -self._max_debt), self._max_credit)


def _bucket(limit: float, size: float, at_once: float) -> AsyncLimiter:
    """A bucket under which no minute has more than `limit`, though up to `at_once` was saved up outside of it."""
    rate = max(limit - (size - 1) - (at_once - 1), _LEAST_RATE * limit) * _CAUTION / _MINUTE
    return AsyncLimiter(size, size / rate)
