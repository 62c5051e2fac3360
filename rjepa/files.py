"""Write files so that a reader never sees half of one, and name bytes by their hash.

Every write goes to a temporary name in the same folder, is flushed to the disk, and is renamed into place:
`kill -9` leaves either the old file or the new one. Formats live elsewhere (`rjepa.tables`, safetensors).
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rjepa.errors import CorruptError, NotFoundError, StorageError

_CHUNK = 1 << 20

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it is fsynced and renamed to `path`.

    Raises:
        StorageError: the folder cannot be written or the disk is full. Nothing is left behind.
    """
    _make_folder(path.parent)
    with storage_errors(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            fsync(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
            fsync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; on a clean exit its files are fsynced and it is renamed to `path`.

    An existing `path` is replaced. A reader that opens `path` between the two renames finds it missing, so
    folders that are read while they are replaced are named by content and pointed at (see `rjepa.releases`).
    """
    _make_folder(path.parent)
    with storage_errors(path):
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    # safetensors writes files that their owner alone may read.
                    file.chmod(0o644)
                    fsync(file)
            temporary.chmod(0o755)
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
            fsync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Atomically write UTF-8 text."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Atomically write JSON with sorted keys, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        NotFoundError: there is no such file.
        CorruptError: the file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist", cure="materialise the asset that writes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorruptError(
            f"{path} is not valid JSON ({error})", cure="delete it and materialise the asset that writes it"
        ) from error


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def remove_temporary(folder: Path) -> None:
    """Delete what a killed writer left in `folder` (names made by this module only)."""
    for leftover in folder.glob(".*.tmp"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    with storage_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:
            # Where even the root cannot be made (/proc, a vanished mount), the system says "not found".
            raise PermissionError(errno.EACCES, "the folder cannot be made", str(folder)) from error


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full disk and a forbidden folder into errors that name `path`.

    Raises:
        StorageError: instead of the system's own error.
    """
    try:
        yield
    except OSError as error:
        cure = storage_cure(error)
        if cure is None:
            raise
        full = error.errno in _FULL
        problem = f"the disk is full: cannot write {path}" if full else f"cannot write {path} ({error.strerror})"
        raise StorageError(problem, cure=cure) from error


def storage_cure(error: OSError) -> str | None:
    """What to do about a disk that refuses; None where the error is something else."""
    if error.errno in _FULL:
        return "free some space or point RJEPA_HOME at a larger disk, then run the same command again"
    if error.errno in _FORBIDDEN:
        return "point RJEPA_HOME at a folder that you can write to"
    return None
