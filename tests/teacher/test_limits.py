"""Rates on a clock that tests turn: what goes out in any minute, and how much of the allowance is used."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rjepa.teacher.limits import CallUsage, RateLimits


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next thing that is due."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            # A clock that stands still while a float is rounded would wait for ever.
            self.now = max(self.now + 1e-9, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def on_clock(work: Callable[[Clock], Awaitable[None]]) -> None:
    loop = Clock()
    try:
        loop.run_until_complete(work(loop))
    finally:
        loop.close()


def most_in_a_minute(events: list[tuple[float, float]]) -> float:
    return max(sum(amount for at, amount in events if start <= at < start + 60) for start, _ in events)


async def admit(loop: Clock, limits: RateLimits, calls: list[tuple[int, int]], workers: int) -> list[tuple[float, int]]:
    """Let workers put (worst case, used) calls through; returns when each was sent and what it used."""
    sent: list[tuple[float, int]] = []
    left = iter(calls)

    async def worker() -> None:
        for worst, used in left:
            usage = CallUsage(worst)
            await limits.admit(usage)
            sent.append((loop.time(), used))
            await asyncio.sleep(2)
            limits.settle(usage, used)

    await asyncio.gather(*(worker() for _ in range(workers)))
    return sent


@pytest.mark.parametrize("rpm", [1, 7, 60, 600])
def test_no_minute_has_more_requests_than_allowed_and_the_allowance_is_used(rpm: int) -> None:
    async def work(loop: Clock) -> None:
        sent = await admit(loop, RateLimits(rpm, None, 100), [(10, 10)] * (4 * rpm), workers=200)
        counted = most_in_a_minute([(at, 1) for at, _ in sent])
        assert counted <= rpm
        assert len(sent) - 1 >= 0.95 * rpm * (sent[-1][0] - sent[0][0]) / 60

    on_clock(work)


def test_no_minute_has_more_tokens_than_allowed_though_calls_use_less_than_their_worst_case() -> None:
    async def work(loop: Clock) -> None:
        calls = [(1000, 200 + 37 * (n % 11)) for n in range(2400)]
        sent = await admit(loop, RateLimits(None, 240_000, 1000), calls, workers=64)
        assert most_in_a_minute([(at, used) for at, used in sent]) <= 240_000
        assert sum(used for _, used in sent) >= 0.95 * 240_000 * (sent[-1][0] - sent[0][0]) / 60

    on_clock(work)


def test_an_endpoint_that_uses_more_tokens_than_the_worst_case_is_slowed_down() -> None:
    async def work(loop: Clock) -> None:
        sent = await admit(loop, RateLimits(None, 6_000, 100), [(100, 190)] * 120, workers=4)
        assert sum(used for _, used in sent) <= 1.1 * 6_000 * (sent[-1][0] - sent[0][0]) / 60

    on_clock(work)


def test_a_large_call_is_not_overtaken_for_ever_by_small_ones() -> None:
    async def work(loop: Clock) -> None:
        calls = [(10, 10)] * 50 + [(1000, 1000)] + [(10, 10)] * 2000
        sent = await admit(loop, RateLimits(None, 2_000, 1000), calls, workers=100)
        place = [used for _, used in sent].index(1000)
        assert place <= 150

    on_clock(work)


def test_without_limits_nothing_waits() -> None:
    async def work(loop: Clock) -> None:
        await admit(loop, RateLimits(None, None, 100), [(10, 10)] * 1000, workers=1000)
        assert loop.time() <= 2.1

    on_clock(work)
