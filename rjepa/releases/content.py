"""Which bytes may be in a release: JSON and safetensors, by their content. Hashes and folders live in `bundle`."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from rjepa.errors import CorruptError

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
    """The format's own reader checks the header and that its byte ranges end where the file ends."""
    try:
        with safe_open(path, framework="numpy") as file:
            file.keys()
    except (SafetensorError, OSError, ValueError):
        raise CorruptError(f"{path} does not hold safetensors", cure=_CURE) from None
