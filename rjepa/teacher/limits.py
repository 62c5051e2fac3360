"""Requests and tokens per minute of one endpoint, shared by all its calls, retries included.

The bucket itself is aiolimiter's. A bucket of size B that leaks r a second lets at most B + 60 r through in any minute,
so r is chosen to keep that sum at the endpoint's limit.
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
"""Requests arrive closer together or farther apart than they were sent."""
_LARGEST_SHARE: Final = 0.5
"""A bucket larger than half the limit would leave too little for the rate; calls that large wait for a full bucket."""


@dataclass
class Turn:
    """One call's passage: the tokens one attempt may use, and what its attempts took and left behind."""

    tokens: int
    taken: float = 0.0
    attempts: int = 0
    doubtful: int = 0
    """Attempts that were sent and not answered: they may have been billed."""


class RateLimits:
    """Both limits of one endpoint. None is no limit."""

    def __init__(self, rpm: float | None, tpm: float | None, largest_call: int) -> None:
        burst = max(1.0, math.floor(_BURST * (rpm or 0)))
        self._requests = _bucket(rpm, burst) if rpm else None
        self._size = min(max(_BURST * (tpm or 0), largest_call), _LARGEST_SHARE * (tpm or 0))
        self._tokens = _bucket(tpm, self._size) if tpm else None
        self._credit = 0.0
        self._queue = asyncio.Lock()

    async def admit(self, turn: Turn) -> None:
        """Wait until one more attempt of this call may be sent. First come, first served."""
        async with self._queue:  # aiolimiter lets small calls overtake large ones, which might then wait for ever
            if self._requests is not None:
                await self._requests.acquire()
            if self._tokens is not None:
                wanted = min(float(turn.tokens), self._size)
                taken = min(max(wanted - self._credit, 0.0), self._size)
                await self._tokens.acquire(taken)
                self._credit -= wanted - taken
                turn.taken += wanted

    def settle(self, turn: Turn, used: int) -> None:
        """Give back what a call took and did not use; what it used beyond, the next ones wait for."""
        if self._tokens is not None:
            self._credit = min(max(self._credit + turn.taken - used, -self._size), self._size)


def _bucket(limit: float, size: float) -> AsyncLimiter:
    rate = max(limit - (size - 1), _LARGEST_SHARE * limit) * _CAUTION / _MINUTE
    return AsyncLimiter(size, size / rate)
