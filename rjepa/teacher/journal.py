"""The durable record of a job: one JSON line an event, on the disk before anything depends on it.

Lines that arrive while the disk is busy go out together, so that hundreds of calls share one fsync. A line that a kill
cut short never counted and is dropped; anything else that is not JSON is damage and is refused.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rjepa.errors import CorruptError, InvalidInputError, StorageError
from rjepa.files import fsync

Entry = dict[str, Any]


class Journal:
    """An append-only file that one process at a time holds open for writing."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            InvalidInputError: another process runs this job.
            CorruptError: a line in it is no entry.
            StorageError: the file cannot be written.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _storage_error(path, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise InvalidInputError(
                f"the job of {path.parent} is running in another process", cure="wait for it, or stop it first"
            ) from None
        self._pending: list[bytes] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._broken: StorageError | None = None
        try:
            self.entries = list(read_entries(path))
        except CorruptError:
            os.close(self._file)
            raise
        os.ftruncate(self._file, sum(length for _, length in self.entries))
        fsync(path.parent)

    async def append(self, entry: Entry) -> None:
        """Return when the entry is on the disk.

        Raises:
            StorageError: it could not be written. Nothing can be appended after that.
        """
        if self._broken is not None:
            raise self._broken
        self._pending.append(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        await waiter

    async def close(self) -> None:
        """Write what is waiting and release the file."""
        while self._flusher is not None:
            await asyncio.wait([self._flusher])
        os.close(self._file)

    async def _flush(self) -> None:
        while self._pending:
            lines, waiters = self._pending, self._waiters
            self._pending, self._waiters = [], []
            try:
                await asyncio.to_thread(self._write, b"".join(lines))
            except OSError as error:
                self._broken = _storage_error(self.path, error)
            for waiter in waiters:
                if not waiter.done():
                    if self._broken is not None:
                        waiter.set_exception(self._broken)
                    else:
                        waiter.set_result(None)
        self._flusher = None

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        os.fdatasync(self._file)


def read_entries(path: Path) -> Iterator[tuple[Entry, int]]:
    """The whole entries of a journal, each with the bytes of its line. A missing file has none.

    Raises:
        CorruptError: a finished line is no entry.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                entry = json.loads(line)
                if not isinstance(entry, dict) or "event" not in entry:
                    raise ValueError("no event")
            except ValueError as error:
                raise CorruptError(
                    f"line {number} of {path} is damaged ({error})",
                    cure="bring the file back from a backup, or start a job under another name",
                ) from error
            yield entry, len(line)


def _storage_error(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write {path} ({error.strerror})",
        cure="free some space or point RJEPA_HOME at a folder that you can write to, then run the job again",
    )
