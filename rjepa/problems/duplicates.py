"""Find keys that occur twice among any number of rows, in little memory: their digests go to buckets on disk."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np

_BUCKETS = 64
_IN_MEMORY = 1024  # digests a bucket holds before it goes to disk: 1.5 MB in all
_RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("number", "<u8")])


class SeenKeys:
    """Remembers keys with the number of their row. A 128-bit digest stands for a key."""

    def __init__(self) -> None:
        self._pending = [bytearray() for _ in range(_BUCKETS)]
        self._files: list[IO[bytes] | None] = [None] * _BUCKETS
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "SeenKeys":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, key: str, number: int) -> None:
        """Remember a key of row `number`."""
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        bucket = digest[0] % _BUCKETS
        pending = self._pending[bucket]
        pending += digest
        pending += number.to_bytes(8, "little")
        if len(pending) >= _IN_MEMORY * _RECORD.itemsize:
            file = self._files[bucket]
            if file is None:
                file = self._files[bucket] = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            file.write(pending)
            pending.clear()

    def repeated(self) -> np.ndarray:
        """(row, row of the first with the same key), `[repeats, 2]`, in the order of rows."""
        found = np.concatenate([np.empty((0, 2), np.int64), *(_repeats(records) for records in self._buckets())])
        return found[np.argsort(found[:, 0], kind="stable")]

    def _buckets(self) -> Iterator[np.ndarray]:
        for pending, file in zip(self._pending, self._files, strict=True):
            written = b""
            if file is not None:
                file.seek(0)
                written = file.read()
            yield np.frombuffer(written + bytes(pending), _RECORD)


def _repeats(records: np.ndarray) -> np.ndarray:
    """(row, first row with its key) of every record but the first of its key."""
    ordered = records[np.lexsort((records["number"], records["low"], records["high"]))]
    fresh = np.ones(len(ordered), bool)
    fresh[1:] = (ordered["high"][1:] != ordered["high"][:-1]) | (ordered["low"][1:] != ordered["low"][:-1])
    run_start = np.maximum.accumulate(np.where(fresh, np.arange(len(ordered)), 0))
    pairs = np.stack([ordered["number"], ordered["number"][run_start]], axis=1)
    return pairs[~fresh].astype(np.int64)
