"""Shards on disk: a safetensors and a Parquet file each, a receipt that says they are whole, one manifest over all.

A shard is named by its number and known by its key, a hash of everything it was made from: a killed build goes on
after its last whole shard, and a build of the same inputs finds all of them. What is inside a shard is decided in
`rjepa.latents.shards` and `rjepa.latents.rollouts`.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import read_json, remove_temporary, sha256_file, sha256_json, write_json
from rjepa.latents.sets import Prompts
from rjepa.latents.writing import TensorSpool, tensor_spool
from rjepa.tables import Record, arrow_schema, to_table, write_table

MANIFEST = "manifest.json"

_IN_MEMORY = 1 << 25
"""Bytes of joined latents that are held in memory; more are joined in an unnamed temporary file, and mapped."""

_COPIED = 1 << 20
"""Bytes that are copied at once."""


@dataclass(frozen=True)
class ShardStore(Generic[Record]):
    """The shards of one folder. `what` and `cure` word its errors ("latents of tiny-a on v1.0.0")."""

    folder: Path
    model: type[Record]
    what: str
    cure: str

    def finished(self, number: int, key: str) -> dict[str, Any] | None:
        """The receipt of a shard that was made from these inputs and is intact; None where it must be made."""
        path = self.path(number, "json")
        try:
            receipt = read_json(path)
            if receipt["key"] == key:
                self._verify(receipt)
                return receipt
        except (NotFoundError, CorruptError, KeyError, TypeError):
            return None
        return None

    def write(
        self,
        number: int,
        key: str,
        tensors: dict[str, npt.NDArray[Any]],
        records: Sequence[Record],
        counts: dict[str, int],
    ) -> dict[str, Any]:
        """Write one shard, its receipt last; the receipt is returned."""
        with self.writing() as shard:
            shard.append(tensors, records)
            return shard.finish(number, key, counts)

    @contextlib.contextmanager
    def writing(self) -> Iterator["ShardWriter[Record]"]:
        """A shard to be appended to; nothing of it has a name before it is finished."""
        with tensor_spool(self.folder) as tensors:
            yield ShardWriter(self, tensors)

    def clean(self) -> None:
        """Remove what a killed writer left half-written."""
        remove_temporary(self.folder)

    def publish(self, identity: dict[str, Any], receipts: list[dict[str, Any]]) -> dict[str, Any]:
        """Write the manifest over finished shards and remove shards of an earlier, longer build. Returns it."""
        version = sha256_json({**identity, "files": [receipt["files"] for receipt in receipts]})
        manifest = {**identity, "data_version": version, "shards": receipts}
        write_json(self.folder / MANIFEST, manifest)
        for receipt_path in self.folder.glob("shard-*.json"):
            number = int(receipt_path.stem.removeprefix("shard-"))
            if number >= len(receipts):
                for suffix in ("json", "safetensors", "parquet"):
                    self.path(number, suffix).unlink(missing_ok=True)
        return manifest

    def manifest(self, fingerprint: str | None = None) -> dict[str, Any]:
        """The manifest of a finished build, optionally only if `fingerprint`'s student made it.

        Raises:
            NotFoundError: nothing was finished here.
            InvalidInputError: another student made it.
        """
        path = self.folder / MANIFEST
        if not path.exists():
            raise NotFoundError(f"there are no {self.what} (no {path})", cure=self.cure)
        manifest = read_json(path)
        if fingerprint is not None and manifest["fingerprint"] != fingerprint:
            raise InvalidInputError(
                f"{self.what} were made by student {manifest['fingerprint'][:12]}, this run expects {fingerprint[:12]}",
                cure=self.cure,
            )
        return manifest

    def verify(self, manifest: dict[str, Any]) -> None:
        """Check every file of every shard against its hash.

        Raises:
            CorruptError: a file is missing or its bytes changed; it is named.
        """
        for receipt in manifest["shards"]:
            self._verify(receipt)

    def paths(self, manifest: dict[str, Any], suffix: str) -> list[Path]:
        """The shards' files of one kind, in order."""
        return [self.path(number, suffix) for number in range(len(manifest["shards"]))]

    def latents(self, manifest: dict[str, Any]) -> npt.NDArray[np.float16]:
        """float16 [rows, width], the latents of all shards: one shard is mapped where it lies, several are joined."""
        return self._joined(manifest, "latents")

    def prompts(self, manifest: dict[str, Any]) -> Prompts | None:
        """The sentences of all shards' problems; None where a shard was made before they were kept."""
        shards = [map_tensors(path) for path in self.paths(manifest, "safetensors")]
        if not all("sentences" in shard for shard in shards):
            return None
        counts = [shard["sentence_counts"] for shard in shards]
        return Prompts.of(self._joined(manifest, "sentences"), np.concatenate([np.empty(0, dtype=np.int64), *counts]))

    def types(self, manifest: dict[str, Any]) -> npt.NDArray[np.uint8] | None:
        """uint8 [rows], the types of all shards' segments; None where a shard was made before they were kept."""
        shards = [map_tensors(path) for path in self.paths(manifest, "safetensors")]
        if not all("types" in shard for shard in shards):
            return None
        return np.concatenate([np.empty(0, dtype=np.uint8), *(shard["types"] for shard in shards)])

    def _joined(self, manifest: dict[str, Any], name: str) -> npt.NDArray[np.float16]:
        parts = [map_tensors(path)[name] for path in self.paths(manifest, "safetensors")]
        if not parts:
            return np.empty((0, manifest["width"]), dtype=np.float16)
        if len(parts) == 1:
            return parts[0]
        shape = (sum(len(part) for part in parts), parts[0].shape[1])
        if 2 * shape[0] * shape[1] <= _IN_MEMORY:
            return np.concatenate(parts)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            # From file to file: what is read or written through a map would count as this process's memory.
            for part, path in zip(parts, self.paths(manifest, "safetensors"), strict=True):
                _copy_bytes(path, part.offset if part.size else 0, part.nbytes, file)
            file.flush()
            return np.memmap(file, dtype=np.float16, mode="r", shape=shape)

    def path(self, number: int, suffix: str) -> Path:
        """A file of one shard, whether it is there or not."""
        return self.folder / f"shard-{number:05d}.{suffix}"

    def _verify(self, receipt: dict[str, Any]) -> None:
        for name, expected in receipt["files"].items():
            path = self.folder / name
            if not path.exists():
                raise CorruptError(f"a shard of the {self.what} is missing: {path}", cure=self.cure)
            found = sha256_file(path)
            if found != expected:
                raise CorruptError(
                    f"a shard of the {self.what} is damaged: {path} has hash {found[:12]}, expected {expected[:12]}",
                    cure=f"{self.cure}: only this shard is made again",
                )


class ShardWriter(Generic[Record]):
    """Takes a shard piece by piece: what it holds in memory are compact rows of the table."""

    def __init__(self, store: ShardStore[Record], tensors: TensorSpool) -> None:
        self._store, self.tensors = store, tensors
        self._rows = [arrow_schema(store.model).empty_table()]

    def append(self, tensors: Mapping[str, npt.NDArray[Any]], records: Sequence[Record]) -> None:
        """Add rows to the tensors and records to the table."""
        self.tensors.append(tensors)
        self._rows.append(to_table(self._store.model, records))

    def finish(self, number: int, key: str, counts: dict[str, int]) -> dict[str, Any]:
        """Write the files under their names, the receipt last; the receipt is returned."""
        store, table = self._store, pa.concat_tables(self._rows)
        paths = store.path(number, "safetensors"), store.path(number, "parquet")
        store.path(number, "json").unlink(missing_ok=True)
        self.tensors.save(paths[0])
        write_table(paths[1], table)
        receipt = {
            "key": key,
            "files": {path.name: sha256_file(path) for path in paths},
            "records": len(table),
            "rows": self.tensors.rows("latents"),
            "counts": counts,
        }
        write_json(store.path(number, "json"), receipt)
        return receipt


def _copy_bytes(path: Path, offset: int, count: int, target: IO[bytes]) -> None:
    with path.open("rb") as source:
        source.seek(offset)
        while count > 0:
            chunk = source.read(min(count, _COPIED))
            target.write(chunk)
            count -= len(chunk)


def map_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a safetensors file as read-only memory maps. Only the types that shards hold."""
    dtypes = {"F16": np.float16, "I64": np.int64, "U8": np.uint8}
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            shape, offset = tuple(entry["shape"]), 8 + size + entry["data_offsets"][0]
            dtype = dtypes[entry["dtype"]]
            empty = 0 in shape
            tensors[name] = np.empty(shape, dtype) if empty else np.memmap(path, dtype, "r", offset, shape)
    return tensors
