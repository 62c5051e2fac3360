"""Content-addressed shards on disk, shared by all versions of a dataset that name them.

A shard is a Parquet file (a row for each thing that is kept, found again by its `key`), mostly a safetensors file with
the tensors of these rows, and a receipt, written last, that says they are whole. Its id is a hash of its files. Nothing
here belongs to a dataset version: which rows of which shards make one is `rjepa.latents.versions`. Looking keys up
needs no index file: they are read from the shards themselves.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rjepa.arrays import Int64
from rjepa.errors import CorruptError, NotFoundError
from rjepa.files import atomic_path, read_json, remove_temporary, sha256_file, sha256_json, write_json
from rjepa.home import Home
from rjepa.latents.writing import TensorPlace, TensorSpool, tensor_spool
from rjepa.locks import clearing_lock, shared_lock
from rjepa.tables import arrow_schema, read_rows, scan_columns, to_table

KEY_LENGTH: Final = 32
"""Hex digits of a key or an id: 128 bits, so that two different texts never share one."""


class KeptRow(BaseModel):
    """What a shard's table says of one thing that is kept. A shard's rows have different keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(description="hash of all that determines it")


Row = TypeVar("Row", bound=KeptRow)


class ShardReceipt(BaseModel):
    """What is known of a whole shard without opening it. `files` are SHA-256 by suffix, `size` is in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    files: dict[str, str]
    tensors: dict[str, TensorPlace]
    records: int
    size: int


@dataclass(frozen=True)
class ShardStore(Generic[Row]):
    """The shards of one folder. `what` and `cure` word its errors ("latents of tiny-a", "materialise ...")."""

    folder: Path
    model: type[Row]
    what: str
    cure: str

    @contextlib.contextmanager
    def writing(self) -> Iterator["ShardWriter[Row]"]:
        """A writer of shards, one after the other; nothing of a shard has a name before it is finished."""
        with tensor_spool(self.folder) as tensors:
            yield ShardWriter(self, tensors)

    def receipts(self) -> list[ShardReceipt]:
        """Receipts of all shards that were finished, ordered by id. One that cannot be read is left out."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            with contextlib.suppress(NotFoundError, CorruptError, ValidationError):
                found.append(ShardReceipt.model_validate(read_json(path)))
        return found

    def path(self, receipt: ShardReceipt, suffix: str) -> Path:
        """A file of a shard, whether it is there or not."""
        return self.folder / f"{receipt.id}.{suffix}"

    def verify(self, receipt: ShardReceipt) -> None:
        """Compare the files of a shard with their hashes.

        Raises:
            CorruptError: a file is missing or its bytes changed; it is named.
        """
        for suffix, expected in receipt.files.items():
            path = self.path(receipt, suffix)
            if not path.exists():
                raise CorruptError(f"a shard of the {self.what} is missing: {path}", cure=self.cure)
            found = sha256_file(path)
            if found != expected:
                raise CorruptError(
                    f"a shard of the {self.what} is damaged: {path} has hash {found[:12]}, expected {expected[:12]}",
                    cure=f"{self.cure}: only this shard is made again",
                )

    def is_whole(self, receipt: ShardReceipt) -> bool:
        """Whether the files of a shard are there with the bytes they were written with."""
        try:
            self.verify(receipt)
        except CorruptError:
            return False
        return True

    def discard(self, receipt_id: str) -> None:
        """Remove a shard, its receipt first: one that was removed by half is no shard."""
        for suffix in ("json", "parquet", "safetensors"):
            (self.folder / f"{receipt_id}.{suffix}").unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove what killed writers left half-written. Nobody else may write here meanwhile."""
        remove_temporary(self.folder)

    def rows(self, receipts: Sequence[ShardReceipt], shards: Int64, places: Int64) -> pa.Table:
        """The rows of these shards at these places, in that order.

        Args:
            receipts: what `shards` counts.
            shards: int64 [rows], indices into `receipts`.
            places: int64 [rows], rows of each shard's table.
        """
        used, of_used = np.unique(shards, return_inverse=True)
        sizes = np.array([receipts[number].records for number in used], dtype=np.int64)
        starts = np.cumsum(sizes) - sizes
        paths = [self.path(receipts[number], "parquet") for number in used]
        return (
            read_rows(paths, self.model, starts[of_used] + places) if paths else arrow_schema(self.model).empty_table()
        )


class ShardIndex(Generic[Row]):
    """Where each key of a store lies, as of when it was made. `receipts` are what shard numbers count; shards that are
    written later are told to it by `add`.
    """

    def __init__(self, store: ShardStore[Row]) -> None:
        self.receipts: list[ShardReceipt] = store.receipts()
        self._store = store
        self._whole: dict[int, bool] = {}
        keys, shards, places = [np.empty(0, f"S{KEY_LENGTH}")], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for number, receipt in enumerate(self.receipts):
            if not store.path(receipt, "parquet").exists():
                continue
            try:
                found = _keys(store.path(receipt, "parquet"), store.model)
            except CorruptError:
                continue
            keys.append(found)
            shards.append(np.full(len(found), number, dtype=np.int64))
            places.append(np.arange(len(found)))
        whole = np.concatenate(keys)
        # Stable, so that of two shards with one key the first always counts.
        order = np.argsort(whole, kind="stable")
        self._keys, self._shards, self._places = (
            whole[order],
            np.concatenate(shards)[order],
            np.concatenate(places)[order],
        )

    def find(self, keys: Sequence[str]) -> tuple[Int64, Int64]:
        """Shard number and place of each key, both int64 [keys]; -1 where it is in no whole shard. The bytes of a
        shard are compared with their hashes when it is first found; a damaged one is removed.
        """
        wanted = np.array(list(keys), dtype=f"S{KEY_LENGTH}")
        shards, places = np.full(len(wanted), -1, dtype=np.int64), np.full(len(wanted), -1, dtype=np.int64)
        if not len(self._keys):
            return shards, places
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        known = self._keys[at] == wanted
        shards[known], places[known] = self._shards[at[known]], self._places[at[known]]
        damaged = [number for number in np.unique(shards[known]).tolist() if not self._is_whole(number)]
        lost = np.isin(shards, damaged)
        shards[lost], places[lost] = -1, -1
        return shards, places

    def add(self, receipt: ShardReceipt) -> int:
        """Count a shard that was just written; its number."""
        self.receipts.append(receipt)
        self._whole[len(self.receipts) - 1] = True
        return len(self.receipts) - 1

    def _is_whole(self, number: int) -> bool:
        if number not in self._whole:
            self._whole[number] = self._store.is_whole(self.receipts[number])
            if not self._whole[number]:
                self._store.discard(self.receipts[number].id)
        return self._whole[number]


class ShardWriter(Generic[Row]):
    """Takes a shard piece by piece: what it holds in memory are compact rows of the table."""

    def __init__(self, store: ShardStore[Row], tensors: TensorSpool) -> None:
        self._store, self._tensors = store, tensors
        self._rows = [arrow_schema(store.model).empty_table()]

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._rows)

    def tensor_rows(self, name: str) -> int:
        """How many rows a tensor of the shard has by now."""
        return self._tensors.rows(name)

    def append(self, tensors: Mapping[str, npt.NDArray[Any]], records: Sequence[Row]) -> None:
        """Add rows to the tensors and records to the table."""
        self._tensors.append(tensors)
        self.append_table(to_table(self._store.model, records))

    def append_table(self, rows: pa.Table) -> None:
        """Add rows to the table that are a table already; their tensors are appended apart."""
        self._rows.append(rows)

    def finish(self) -> ShardReceipt:
        """Write the files under their names, the receipt last, and begin another shard. Returns the receipt."""
        store, table, tensors = self._store, pa.concat_tables(self._rows), self._tensors
        parquet = pa.BufferOutputStream()
        pq.write_table(table, parquet, compression="zstd")
        data = parquet.getvalue()
        files = {"parquet": hashlib.sha256(data).hexdigest()}
        if not tensors.is_empty:
            files["safetensors"] = tensors.sha256()
        stem = store.folder / sha256_json(files)[:KEY_LENGTH]
        if not tensors.is_empty:
            tensors.save(stem.with_suffix(".safetensors"))
        with atomic_path(stem.with_suffix(".parquet")) as temporary:
            temporary.write_bytes(data)
        receipt = ShardReceipt(
            id=stem.name,
            files=files,
            tensors=tensors.places(),
            records=len(table),
            size=sum(stem.with_suffix(f".{suffix}").stat().st_size for suffix in files),
        )
        write_json(stem.with_suffix(".json"), receipt.model_dump(mode="json"))
        tensors.clear()
        self._rows = self._rows[:1]
        return receipt


@contextlib.contextmanager
def store_in_use(home: Home, kind: str, llm_tag: str, store: ShardStore[Any]) -> Iterator[None]:
    """Keep `rjepa gc` from the shards of a kind and LLM while they are read and written. What killed writers left is
    removed first, if nobody else is at work.
    """
    with clearing_lock(home, "shards", kind, llm_tag) as alone:
        if alone:
            store.clean()
    with shared_lock(home, "shards", kind, llm_tag):
        yield


def make_key(*parts: Any) -> str:
    """The key of what these JSON values determine."""
    return sha256_json(parts)[:KEY_LENGTH]


def _keys(path: Path, model: type[KeptRow]) -> npt.NDArray[np.bytes_]:
    columns = [batch["key"] for batch in scan_columns([path], model, ["key"])]
    texts = [text for column in columns for text in column.to_pylist()]
    return np.array(texts, dtype=f"S{KEY_LENGTH}")
