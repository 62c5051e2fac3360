"""Rows of tensors that lie in many shards, as one array: mapped where they lie, joined in memory, or joined in a file.

Where the rows lie is given by the caller in runs; which rows a dataset version has is `rjepa.latents.versions`.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from rjepa.arrays import Int64
from rjepa.errors import CorruptError
from rjepa.latents.store import ShardReceipt, ShardStore

_IN_MEMORY: Final = 1 << 25
"""Bytes of joined rows that are held in memory; more are joined in an unnamed temporary file, and mapped."""

_COPIED: Final = 1 << 20
"""Bytes that are copied at once."""


@dataclass
class Runs:
    """Rows of shards, in order, as runs of neighbours. Each run is (index of the shard, first row, row after its last).

    What is held grows with the number of runs, not of rows: in a version that was made at once there are about as many
    as shards.
    """

    runs: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, shards: Int64, firsts: Int64, counts: Int64) -> None:
        """Append `counts[i]` rows of shard `shards[i]` from `firsts[i]` on, for each i; int64 [pieces] each."""
        held = counts > 0
        shards, firsts, ends = shards[held], firsts[held], (firsts + counts)[held]
        if not len(shards):
            return
        breaks = np.flatnonzero((shards[1:] != shards[:-1]) | (firsts[1:] != ends[:-1])) + 1
        starts, stops = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(shards)]]) - 1
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            run = int(shards[start]), int(firsts[start]), int(ends[stop])
            if self.runs and self.runs[-1][0] == run[0] and self.runs[-1][2] == run[1]:
                run = run[0], self.runs.pop()[1], run[2]
            self.runs.append(run)

    def __len__(self) -> int:
        """How many rows there are."""
        return sum(last - first for _, first, last in self.runs)


def join_rows(
    store: ShardStore[Any], receipts: Sequence[ShardReceipt], name: str, runs: Runs, empty: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """The rows of a tensor in these runs, read-only where they are mapped.

    Args:
        receipts: what the runs' shard indices count.
        name: of the tensor.
        empty: what there is where no run has a row: [0, ...], with the type of the tensor.

    Raises:
        CorruptError: a file is shorter than its receipt says.
    """
    parts = [
        (store.path(receipts[shard], "safetensors"), receipts[shard].tensors[name], first, last)
        for shard, first, last in runs.runs
    ]
    if not parts:
        return empty
    if len(parts) == 1:
        path, place, first, last = parts[0]
        return np.memmap(path, np.dtype(place.dtype), "r", place.offset, place.shape)[first:last]
    place = parts[0][1]
    dtype, shape = np.dtype(place.dtype), (len(runs), *place.shape[1:])
    row_bytes = dtype.itemsize * int(np.prod(shape[1:]))
    if row_bytes * shape[0] <= _IN_MEMORY:
        joined = np.empty(shape, dtype)
        done = 0
        for path, place, first, last in parts:
            with path.open("rb") as source:
                source.seek(place.offset + first * row_bytes)
                part = joined[done : done + last - first]
                if source.readinto(part.data.cast("B")) != part.nbytes:
                    raise _too_short(path)
            done += last - first
        return joined
    with tempfile.TemporaryFile(dir=store.folder) as file:
        # From file to file: what is read or written through a map would count as this process's memory.
        for path, place, first, last in parts:
            _copy_bytes(path, place.offset + first * row_bytes, (last - first) * row_bytes, file)
        file.flush()
        return np.memmap(file, dtype=dtype, mode="r", shape=shape)


def _copy_bytes(path: Path, offset: int, count: int, target: IO[bytes]) -> None:
    with path.open("rb") as source:
        source.seek(offset)
        while count > 0:
            chunk = source.read(min(count, _COPIED))
            if not chunk:
                raise _too_short(path)
            target.write(chunk)
            count -= len(chunk)


def _too_short(path: Path) -> CorruptError:
    return CorruptError(f"{path} ends before its tensors do", cure="materialise the asset that made it again")
