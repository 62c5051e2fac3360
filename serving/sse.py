"""Server-sent events: how a value becomes one, comments that keep a silent stream open, and a client that leaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final, TypeVar

from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

PING_SECONDS: Final = 10.0
"""Proxies cut connections that are silent for 30 to 60 s; sampling many candidates can take longer."""

DONE: Final = format_sse_event(data_str="[DONE]")
KEEP_ALIVE: Final = KEEPALIVE_COMMENT

Value = TypeVar("Value")


def event(value: dict[str, Any], name: str | None = None) -> bytes:
    """One event with a JSON value."""
    data = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return format_sse_event(data_str=data, event=name)


def streaming(chunks: AsyncIterator[bytes], headers: dict[str, str]) -> StreamingResponse:
    """A reply whose events leave as they come: nginx would hold them back without the header."""
    return StreamingResponse(chunks, media_type="text/event-stream", headers={"x-accel-buffering": "no"} | headers)


async def all_of(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Pieces that are there already."""
    for piece in pieces:
        yield piece


async def with_pings(items: AsyncIterator[Value], seconds: float = PING_SECONDS) -> AsyncIterator[Value | None]:
    """The items, and None whenever none came for a while.

    One task carries them into a queue: a task and a timeout for each item would cost more than the rest of its way.
    """
    queue: asyncio.Queue[Value | None] = asyncio.Queue()

    async def carry() -> None:
        async for item in items:
            queue.put_nowait(item)

    carrying, loop = asyncio.ensure_future(carry()), asyncio.get_running_loop()
    carrying.add_done_callback(lambda _: queue.put_nowait(None))
    last = loop.time()
    timer: asyncio.TimerHandle | None = None

    def ping() -> None:
        nonlocal timer
        silent = loop.time() - last
        if silent >= seconds:
            queue.put_nowait(None)
        timer = loop.call_later(seconds - silent if silent < seconds else seconds, ping)

    ping()
    try:
        while True:
            item = await queue.get()
            if item is None and carrying.done() and queue.empty():
                carrying.result()
                return
            last = loop.time()
            yield item
    finally:
        if timer is not None:
            timer.cancel()
        carrying.cancel()
        await asyncio.gather(carrying, return_exceptions=True)
