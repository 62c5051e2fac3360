"""Write one shard piece by piece: tensors grow on the disk, not in memory, and become one safetensors file at the end.

Where shards lie and what says that they are whole is `rjepa.latents.store`.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy.typing as npt

from rjepa.files import atomic_path, storage_errors

_NAMES = {"int64": "I64", "float16": "F16", "uint8": "U8"}
"""By numpy's names, the widest first."""


class TensorSpool:
    """Tensors that are appended to along their first axis. Only the types that shards hold, those of `_NAMES`."""

    def __init__(self, folder: Path, files: contextlib.ExitStack) -> None:
        self._folder, self._files = folder, files
        self._spools: dict[str, IO[bytes]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._types: dict[str, str] = {}

    def append(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add rows to each tensor."""
        for name, rows in tensors.items():
            if name not in self._spools:
                self._spools[name] = self._files.enter_context(tempfile.TemporaryFile(dir=self._folder))
                self._shapes[name], self._types[name] = (0, *rows.shape[1:]), _NAMES[rows.dtype.name]
            held, kind = self._shapes[name], self._types[name]
            if kind != _NAMES[rows.dtype.name] or held[1:] != rows.shape[1:]:
                raise ValueError(f"{name} holds {kind} {held}, got {rows.dtype} {rows.shape}")
            self._shapes[name] = (self._shapes[name][0] + len(rows), *rows.shape[1:])
            # Not tofile: on a full disk it says how many items it wrote, and not that the disk is full.
            self._spools[name].write(rows.tobytes())

    def rows(self, name: str) -> int:
        """How many rows a tensor has by now."""
        return self._shapes[name][0]

    def save(self, path: Path) -> None:
        """Atomically write all tensors as one safetensors file."""
        # The widest first, so that everything is aligned.
        widest = list(_NAMES.values())
        names = sorted(self._spools, key=lambda name: (widest.index(self._types[name]), name))
        header, offset = {}, 0
        for name in names:
            size = self._spools[name].tell()
            header[name] = {
                "dtype": self._types[name],
                "shape": list(self._shapes[name]),
                "data_offsets": [offset, offset + size],
            }
            offset += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                self._spools[name].seek(0)
                shutil.copyfileobj(self._spools[name], file)


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
