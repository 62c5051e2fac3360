"""Iterators that run a coroutine while they are read. They yield every few milliseconds until it is done; closing one
early cancels its coroutine.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

LOOK_SECONDS: Final = 0.05
"""Seconds between two looks at whether a waiting caller still wants the answer."""


def driven_alone(work: Coroutine[Any, Any, Result], seconds: float) -> Iterator[None]:
    """As `driven`, in a loop of its own."""
    loop = asyncio.new_event_loop()
    try:
        yield from driven(loop, work, seconds)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def driven(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result], seconds: float) -> Iterator[None]:
    """Run a coroutine in a loop, and yield now and then meanwhile. Closing the iterator cancels it."""
    task = loop.create_task(work)
    try:
        while not task.done():
            loop.run_until_complete(asyncio.wait({task}, timeout=seconds))
            yield
        task.result()
    finally:
        if not task.done():
            task.cancel()
            loop.run_until_complete(asyncio.wait({task}))
        if not task.cancelled():
            task.exception()  # it may have failed after its caller left
