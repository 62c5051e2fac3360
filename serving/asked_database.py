"""A database that the event loop asks in threads."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from rjepa.database import Database
from serving.errors import NotReadyError

Value = TypeVar("Value")


class AskedDatabase:
    """Opened by the first question, and never closed under one.

    A thread goes on when the task that waits for it is cancelled. So `close` waits for the question that is being
    answered, and whoever asks afterwards is refused: nothing would close what was opened again.
    """

    def __init__(self, open_database: Callable[[], Database]) -> None:
        self._open_database = open_database
        self._database: Database | None = None
        self._is_closed = False
        self._using = threading.Lock()

    async def ask(self, question: Callable[[Database], Value]) -> Value:
        """What `question` says of the database; one question at a time.

        Raises:
            NotReadyError: the service has stopped.
            RjepaError: what `question` raises; the database cannot be opened.
        """
        return await asyncio.to_thread(self._answer, question)

    async def close(self) -> None:
        """Give back the database's connections."""
        await asyncio.to_thread(self._close)

    def _answer(self, question: Callable[[Database], Value]) -> Value:
        with self._using:
            if self._is_closed:
                raise NotReadyError("the service stops", cure="ask again when it has started")
            if self._database is None:
                self._database = self._open_database()
            return question(self._database)

    def _close(self) -> None:
        with self._using:
            self._is_closed = True
            if self._database is not None:
                self._database.close()
            self._database = None
