"""Many small writes, few commits: writes that arrive while the disk is busy go out together, in one transaction.

Hundreds of calls in flight then share one wait for the disk.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from rjepa.database import Database

Result = TypeVar("Result")


class GroupCommit:
    """Runs transactions of one event loop, in the order in which they were asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Callable[[Connection], Any], asyncio.Future[Any]]] = []
        self._worker: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None

    async def run(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a transaction, shared with others; return its result once that is committed.

        `work` may be called several times, as of `Database.transact`. It is done even if the caller is cancelled.

        Raises:
            Exception: what `work` raises, or the database. All that shared the transaction get it, and nothing can be
                written after it.
        """
        if self._broken is not None:
            raise self._broken
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._commit_waiting())
        return cast(Result, await future)

    async def finish(self) -> None:
        """Wait until everything that was asked for is committed."""
        while self._worker is not None:
            await asyncio.wait([self._worker])

    async def _commit_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                if self._broken is not None:
                    raise self._broken
                results = await asyncio.to_thread(self._commit, [work for work, _ in batch])
            except BaseException as error:  # noqa: BLE001 - it is passed on to everyone who waits
                self._broken = error
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    if not future.done():
                        future.set_result(result)
        self._worker = None

    def _commit(self, works: list[Callable[[Connection], Any]]) -> list[Any]:
        return self._database.transact(lambda connection: [work(connection) for work in works])
