"""safetensors files: a header without its tensors; weights with the JSON values that say what they are.

safetensors reads and checks the header; files that are not whole are distinguished from other formats here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from rjepa.errors import CorruptError
from rjepa.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SafetensorsHeader:
    """Shapes of a file's tensors by name, and its free metadata."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]


def read_header(file: Path) -> SafetensorsHeader:
    """The header of a file.

    Raises:
        CorruptError: the file is another format, damaged or cut short.
        FileNotFoundError: there is no such file.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
            return SafetensorsHeader(shapes, opened.metadata() or {})
    except SafetensorError as error:
        kind, cure = _kind(file), "copy or convert the file again"
        if kind == _POINTER:
            cure = "fetch the file itself, with `git lfs pull` or `hf download`"
        raise CorruptError(f"{file} is not safetensors: it is {kind} ({error})", cure=cure) from error


_POINTER = "a pointer of Git LFS, and not the file that it stands for"


def _kind(file: Path) -> str:
    with file.open("rb") as stream:
        head = stream.read(40)
    if head.startswith(b"version https://git-lfs"):
        return _POINTER
    if head.startswith((b"PK", b"\x80")):
        return "a PyTorch pickle"
    if head.startswith(b"GGUF"):
        return "GGUF"
    return "damaged, cut short or another format"


def save_tensors(path: Path, tensors: "dict[str, Tensor]", about: Mapping[str, Any]) -> None:
    """Atomically write weights with JSON values in the header: equal ones give equal bytes."""
    from safetensors.torch import save_file

    # One metadata key only: safetensors writes several in no fixed order.
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"rjepa": json.dumps(about, sort_keys=True)})


def load_tensors(path: Path, cure: str) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """What `save_tensors` wrote.

    Raises:
        CorruptError: the file cannot be read; with this cure.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("rjepa", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CorruptError(f"{path} cannot be read ({error})", cure=cure) from error


def on_cpu(tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """The same values, ready to be written."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
