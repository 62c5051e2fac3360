"""A column of texts that costs a few bytes a row: a million ids as Python strings would outweigh a whole training.

Texts live in Arrow's memory; a text becomes a Python string when it is asked for.
"""

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rjepa.arrays import Bools, Int32, Int64

_CHUNK = 65_536


class Texts(Sequence[str]):
    """Row i is `names[codes[i]]`, or `names[i]` where there are no codes. `distinct` says that no two names are equal.
    Equal to any sequence of the same texts.
    """

    def __init__(self, names: pa.Array, codes: Int32 | None = None, distinct: bool = False) -> None:
        self._names, self._codes, self._distinct = names, codes, distinct

    @classmethod
    def of(cls, texts: "Sequence[str] | pa.ChunkedArray") -> "Texts":
        """Texts of which each may come often: each distinct one is kept once."""
        if isinstance(texts, Texts):
            return texts
        column = texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([pa.array(texts, pa.string())])
        coded = column.dictionary_encode()
        if not coded.num_chunks:
            return cls(pa.array([], pa.string()))
        parts = [np.empty(0, dtype=np.int32), *(chunk.indices.to_numpy() for chunk in coded.chunks)]
        codes = np.concatenate(parts).astype(np.int32, copy=False)
        return cls(coded.chunk(coded.num_chunks - 1).dictionary, codes, distinct=True)

    def __len__(self) -> int:
        return len(self._names if self._codes is None else self._codes)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Texts": ...
    def __getitem__(self, index: int | slice) -> "str | Texts":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        place = range(len(self))[index]
        return str(self._names[int(place if self._codes is None else self._codes[place])].as_py())

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _CHUNK):
            part = slice(first, first + _CHUNK)
            names = self._names[part] if self._codes is None else self._names.take(pa.array(self._codes[part]))
            yield from names.to_pylist()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Texts({len(self)} rows, {len(self._names)} names)"

    def take(self, places: Int64) -> "Texts":
        """The rows at these places, in that order. No text is copied."""
        codes = places.astype(np.int32) if self._codes is None else self._codes[places]
        return Texts(self._names, codes, self._distinct)

    def run(self, first: int, last: int) -> "Texts":
        """The rows from `first` to before `last`: nothing is copied."""
        if self._codes is None:
            return Texts(self._names[first:last], None, self._distinct)
        return Texts(self._names, self._codes[first:last], self._distinct)

    def numbers(self) -> Int32:
        """int32 [rows]: equal numbers for equal texts."""
        if self._distinct and self._codes is not None:
            return self._codes
        numbered: Int32 = self._names.dictionary_encode().indices.to_numpy()
        return numbered if self._codes is None else np.asarray(numbered[self._codes])

    def equal(self, text: str) -> Bools:
        """Bool [rows]: which rows hold a text."""
        same: Bools = pc.equal(self._names, text).to_numpy(zero_copy_only=False).astype(bool)
        return same if self._codes is None else np.asarray(same[self._codes])
