"""The header of a GGUF file, llama.cpp's format: what it says of its model, and the shapes of its tensors.

The package gguf reads headers too, an array's item at a time: 16 s for a vocabulary of 150 000 tokens, where walking
past the arrays takes a tenth of a second. Tensors are unpacked in `rjepa.students.unpacking`.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rjepa.errors import CorruptError
from rjepa.home import Home
from rjepa.students.catalog import DType
from rjepa.students.memory import ModelShape
from rjepa.students.templates import Template

GGUF: Final = ".gguf"
MAGIC: Final = b"GGUF"

Value = int | float | bool | str

_VERSIONS: Final = (2, 3)
"""Version 1 had other widths, and no file of it is around."""
_NUMBERS: Final = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING: Final = 8
_ARRAY: Final = 9
"""The format's own numbers for the types of values."""
_MOST_DIMENSIONS: Final = 8
"""The format allows four: more means that something else is read."""


_NAME_DIGITS: Final = 32
"""Digits of a file's SHA-256 in the name of a folder: enough that no two files share one."""


def unpacked_folder(home: Home, sha256: str, dtype: DType) -> Path:
    """Where the weights of the GGUF file with this hash lie once they are unpacked to this precision."""
    return home.root / "unpacked" / f"{sha256[:_NAME_DIGITS]}-{dtype}"


@dataclass(frozen=True)
class GgufHeader:
    """Metadata by key (of arrays, `lengths` alone), and the shapes of the tensors by llama.cpp's names."""

    metadata: Mapping[str, Value]
    lengths: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def chat_template(self) -> Template | None:
        """The chat template that the file holds."""
        template = self.metadata.get("tokenizer.chat_template")
        return template or None if isinstance(template, str) else None

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a text, a turn or a message."""
        keys = (f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
        return frozenset(value for key in keys if isinstance(value := self.metadata.get(key), int))

    @property
    def parts(self) -> int:
        """Files that the model is split into; this one is the whole where it is 1."""
        return self._number("split.count", 1) or 1

    @property
    def parameters(self) -> int:
        """Numbers in all tensors together."""
        return sum(map(math.prod, self.shapes.values()))

    @property
    def shape(self) -> ModelShape:
        """What the memory of the model is worked out from."""
        name = self.metadata.get("general.architecture", "")
        hidden, heads = self._number(f"{name}.embedding_length"), self._number(f"{name}.attention.head_count", 1)
        rows = [sizes[-1] for tensor, sizes in self.shapes.items() if tensor == "token_embd.weight"]
        experts, expert_size = self._number(f"{name}.expert_count"), self._number(f"{name}.expert_feed_forward_length")
        layers = self._number(f"{name}.block_count")
        return ModelShape(
            parameters=self.parameters,
            hidden_size=hidden,
            intermediate_size=self._number(f"{name}.feed_forward_length", 4 * hidden),
            num_layers=layers,
            kv_heads=self._number(f"{name}.attention.head_count_kv", heads),
            head_dim=self._number(f"{name}.attention.key_length", hidden // heads),
            vocab_size=rows[0] if rows else self.lengths.get("tokenizer.ggml.tokens", 0),
            tied="output.weight" not in self.shapes,
            expert_parameters=3 * layers * experts * hidden * expert_size,
        )

    def _number(self, key: str, default: int = 0) -> int:
        value = self.metadata.get(key, default)
        return int(value) if isinstance(value, int | float) else default


def read_gguf_header(file: Path) -> GgufHeader:
    """Read the header of a GGUF file.

    Raises:
        CorruptError: the file is no GGUF, or its header cannot be read.
    """
    check_gguf(file)
    with file.open("rb") as stream:
        try:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(data).header()
        except (struct.error, ValueError, IndexError, KeyError, OverflowError) as error:
            raise CorruptError(f"the header of {file} cannot be read: {error}", cure="copy it again") from error


def check_gguf(file: Path) -> None:
    """Refuse a file that is no GGUF.

    Raises:
        CorruptError: it does not begin as one.
    """
    with file.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise CorruptError(f"{file} is not GGUF, whatever its name says", cure="copy or download it again")


class _Reader:
    """A walk through the header, value by value."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._place = len(MAGIC)

    def header(self) -> GgufHeader:
        version = self._take("<I")
        if version not in _VERSIONS:
            raise ValueError(f"it is of version {version}, versions {_VERSIONS} are known")
        tensors, keys = self._take("<Q"), self._take("<Q")
        metadata: dict[str, Value] = {}
        lengths: dict[str, int] = {}
        for _ in range(keys):
            key, kind = self._text(), self._take("<I")
            if kind == _ARRAY:
                lengths[key] = self._skip_array()
            else:
                metadata[key] = self._text() if kind == _STRING else self._take(_NUMBERS[kind])
        shapes = {}
        for _ in range(tensors):
            name, dimensions = self._text(), self._take("<I")
            if dimensions > _MOST_DIMENSIONS:
                raise ValueError(f"the tensor {name} has {dimensions} dimensions")
            shapes[name] = tuple(self._take("<Q") for _ in range(dimensions))
            self._take("<I")  # how its numbers are packed
            self._take("<Q")  # where they begin
        return GgufHeader(metadata, lengths, shapes)

    def _take(self, layout: str) -> int:
        (value,) = struct.unpack_from(layout, self._data, self._place)
        self._place += struct.calcsize(layout)
        return value  # type: ignore[no-any-return]  # whatever the layout says

    def _text(self) -> str:
        length = self._take("<Q")
        if self._place + length > len(self._data):
            raise ValueError(f"a text of {length} bytes goes beyond the file")
        text = self._data[self._place : self._place + length].decode("utf-8", "replace")
        self._place += length
        return text

    def _skip_array(self) -> int:
        kind, length = self._take("<I"), self._take("<Q")
        if length > len(self._data):
            raise ValueError(f"an array of {length} values goes beyond the file")
        if kind in _NUMBERS:
            self._place += length * struct.calcsize(_NUMBERS[kind])
        elif kind == _STRING:
            unpack, data, place = struct.Struct("<Q").unpack_from, self._data, self._place
            for _ in range(length):
                place += 8 + unpack(data, place)[0]
            self._place = place
        else:
            raise ValueError(f"an array of values of type {kind}")
        return length
