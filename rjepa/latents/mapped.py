"""Rows of a memory-mapped file, read so that what was read does not stay in this process.

Pages of a map that were touched count as the process's memory until the system needs it, so that a training that walks
over a file of any size would seem to hold all of it, and in a container would be charged for it.
"""

import mmap

import numpy as np

from rjepa.arrays import Float16, Int64

_ROWS = 512
"""Rows that are read before their pages are given back: each may bring a window of 64 KB into memory."""


def take_rows(source: Float16, rows: Int64) -> Float16:
    """`source[rows]`, a copy in memory."""
    if not is_mapped(source):
        return np.asarray(source[rows])
    found = np.empty((len(rows), *source.shape[1:]), dtype=source.dtype)
    for first in range(0, len(rows), _ROWS):
        np.take(source, rows[first : first + _ROWS], axis=0, out=found[first : first + _ROWS])
        give_back(source)
    return found


def is_mapped(array: Float16) -> bool:
    """Whether an array, or what it is a view of, is a memory-mapped file."""
    return isinstance(getattr(array, "_mmap", None), mmap.mmap)


def give_back(array: Float16) -> None:
    """Let go of the pages of a read-only map; they are read from the file again when they are needed."""
    if is_mapped(array) and hasattr(mmap, "MADV_DONTNEED"):
        array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
