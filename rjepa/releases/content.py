"""Which bytes may be in a release: JSON and safetensors, told by their content. Hashes and folders live in `bundle`."""

import json
from pathlib import Path

from rjepa.errors import CorruptError

_MAX_HEADER = 100 << 20
"""Longest safetensors header that the format's own reader accepts, in bytes."""

_CURE = "build the release again from its assets, or roll back: rjepa release rollback"


def check_content(path: Path) -> None:
    """Refuse anything but what the suffix promises: a pickle stays refused under any name.

    Raises:
        CorruptError: `path` is a link, not a plain file, of another suffix, or its bytes are of another format.
    """
    if path.is_symlink() or not path.is_file():
        raise CorruptError(f"{path} is not a plain file", cure=_CURE)
    if path.suffix == ".json":
        _check_json(path)
    elif path.suffix == ".safetensors":
        _check_safetensors(path)
    else:
        raise CorruptError(f"{path} is neither .json nor .safetensors: a release holds nothing else", cure=_CURE)


def _check_json(path: Path) -> None:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise CorruptError(f"{path} does not hold JSON", cure=_CURE) from None


def _check_safetensors(path: Path) -> None:
    """The header is 8 bytes of little-endian length, then JSON naming byte ranges that end where the file ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        raw = file.read(length) if 2 <= length <= min(_MAX_HEADER, size - 8) else b""
    try:
        header = json.loads(raw)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        whole = max(ends, default=0) == size - 8 - length
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError):
        whole = False
    if not whole:
        raise CorruptError(f"{path} does not hold safetensors", cure=_CURE)
