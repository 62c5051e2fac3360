"""Grow tensors on the disk, not in memory, and make one safetensors file of them at the end.

What a shard is, where it lies and what says that it is whole is `rjepa.latents.store`.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from rjepa.files import atomic_path, storage_errors

_NAMES: Final = {"int64": "I64", "float16": "F16", "uint8": "U8"}
"""Names of types in safetensors by numpy's names, the widest first."""

_HASHED: Final = 1 << 20
"""Bytes that are read at once to be hashed."""


class TensorPlace(BaseModel):
    """Where a tensor's bytes lie in its file. `offset` counts bytes from the file's beginning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: str
    shape: tuple[int, ...]
    offset: int


class TensorSpool:
    """Tensors that are appended to along their first axis. Only the types that shards hold, those of `_NAMES`."""

    def __init__(self, folder: Path, files: contextlib.ExitStack) -> None:
        self._folder, self._files = folder, files
        self._spools: dict[str, IO[bytes]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._types: dict[str, str] = {}

    def append(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add rows to each tensor.

        Raises:
            ValueError: rows of another type or shape than those before.
        """
        for name, rows in tensors.items():
            if name not in self._spools:
                spool = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 the stack closes it
                self._spools[name] = self._files.enter_context(spool)
                self._shapes[name], self._types[name] = (0, *rows.shape[1:]), rows.dtype.name
            held, kind = self._shapes[name], self._types[name]
            if kind != rows.dtype.name or kind not in _NAMES or held[1:] != rows.shape[1:]:
                raise ValueError(f"{name} holds {kind} {held}, got {rows.dtype} {rows.shape}")
            self._shapes[name] = (held[0] + len(rows), *held[1:])
            # Not tofile: on a full disk it says how many items it wrote, and not that the disk is full.
            self._spools[name].write(rows.tobytes())

    def rows(self, name: str) -> int:
        """How many rows a tensor has by now."""
        return self._shapes[name][0] if name in self._shapes else 0

    @property
    def is_empty(self) -> bool:
        """Whether no tensor has a name yet."""
        return not self._spools

    def clear(self) -> None:
        """Forget everything, to begin another file."""
        for spool in self._spools.values():
            spool.close()
        self._spools.clear()
        self._shapes.clear()
        self._types.clear()

    def places(self) -> dict[str, TensorPlace]:
        """Where each tensor will lie in the file that `save` writes."""
        _, places = self._header()
        return places

    def sha256(self) -> str:
        """Hex SHA-256 of the file that `save` writes."""
        digest = hashlib.sha256(self._header()[0])
        for name in self._ordered():
            self._spools[name].seek(0)
            while chunk := self._spools[name].read(_HASHED):
                digest.update(chunk)
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Atomically write all tensors as one safetensors file."""
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(self._header()[0])
            for name in self._ordered():
                self._spools[name].seek(0)
                shutil.copyfileobj(self._spools[name], file)

    def _ordered(self) -> list[str]:
        """Names, the widest types first, so that everything is aligned."""
        widest = list(_NAMES)
        return sorted(self._spools, key=lambda name: (widest.index(self._types[name]), name))

    def _header(self) -> tuple[bytes, dict[str, TensorPlace]]:
        """The first bytes of the file, and where tensors lie after them."""
        header, sizes, offset = {}, {}, 0
        for name in self._ordered():
            spool = self._spools[name]
            spool.seek(0, 2)
            sizes[name] = spool.tell()
            header[name] = {
                "dtype": _NAMES[self._types[name]],
                "shape": list(self._shapes[name]),
                "data_offsets": [offset, offset + sizes[name]],
            }
            offset += sizes[name]
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        first = len(text).to_bytes(8, "little") + text
        places, start = {}, len(first)
        for name, size in sizes.items():
            places[name] = TensorPlace(dtype=self._types[name], shape=self._shapes[name], offset=start)
            start += size
        return first, places


@contextlib.contextmanager
def tensor_spool(folder: Path) -> Iterator[TensorSpool]:
    """Tensors that grow in unnamed files in `folder`, gone afterwards, however it ends.

    Raises:
        StorageError: the folder cannot be written or the disk is full.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as files:
            yield TensorSpool(folder, files)
