"""Read the header of a safetensors file: shapes and metadata, without reading a tensor.

safetensors reads and checks the header; files that are not whole are distinguished from other formats here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from rjepa.errors import CorruptError


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
        raise CorruptError(
            f"{file} is not safetensors: it is {_kind(file)} ({error})", cure="copy or convert the file again"
        ) from error


def _kind(file: Path) -> str:
    with file.open("rb") as stream:
        head = stream.read(9)
    if head.startswith((b"PK", b"\x80")):
        return "a PyTorch pickle"
    if head.startswith(b"GGUF"):
        return "GGUF"
    return "damaged, cut short or another format"
