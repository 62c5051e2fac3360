"""The weight files of a model: which they are, whether they are what they call themselves, and how many parameters they
hold. Headers are read, never tensors.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rjepa.errors import CorruptError, InvalidInputError
from rjepa.files import read_json

_INDEX: Final = "model.safetensors.index.json"
_WHOLE: Final = "model.safetensors"
_SCALES: Final = (".qzeros", ".scales", ".g_idx")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that a loader reads, sorted: those the index names, or model.safetensors, or all there are.

    Raises:
        InvalidInputError: there are none, or the index names one that is not there.
        CorruptError: one of them holds something else.
    """
    index = folder / _INDEX
    if index.is_file() and not (folder / _WHOLE).is_file():
        files = _shards(index)
    else:
        files = [folder / _WHOLE] if (folder / _WHOLE).is_file() else sorted(folder.glob("*.safetensors"))
    if not files:
        unsafe = sorted(f.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for f in folder.glob(pattern))
        found = f"only {', '.join(unsafe)}, which can run code when read" if unsafe else "no weights at all"
        raise InvalidInputError(
            f"{folder} has no .safetensors weights: {found}",
            cure="convert it where you trust its source: AutoModelForCausalLM.from_pretrained(F).save_pretrained(F)",
        )
    for file in files:
        _check_safetensors(file)
    return files


def check_gguf(file: Path) -> None:
    """Refuse a file that is no GGUF.

    Raises:
        CorruptError: it does not begin as one.
    """
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise CorruptError(f"{file} is not GGUF, whatever its name says", cure="copy or download it again")


def count_parameters(files: list[Path], config: Mapping[str, Any]) -> int:
    """Parameters in safetensors or GGUF files. Packed weights (AWQ, GPTQ) count as what they were before.

    Args:
        config: the model's config.json, for the bits of packed weights.

    Raises:
        CorruptError: a header cannot be read.
    """
    bits = int((config.get("quantization_config") or {}).get("bits", 4))
    total = 0
    for file in files:
        try:
            total += _in_gguf(file) if file.suffix == ".gguf" else _in_safetensors(file, bits)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise CorruptError(f"the header of {file} cannot be read: {error}", cure="copy it again") from error
    return total


def _in_safetensors(file: Path, bits: int) -> int:
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
    total = 0
    for name, tensor in header.items():
        if name == "__metadata__" or name.endswith(_SCALES):
            continue
        packed = 32 // bits if name.endswith(".qweight") else 1
        total += math.prod(tensor["shape"]) * packed
    return total


def _in_gguf(file: Path) -> int:
    from gguf import GGUFReader

    return sum(int(tensor.n_elements) for tensor in GGUFReader(file).tensors)


def _shards(index: Path) -> list[Path]:
    names = sorted(set(read_json(index).get("weight_map", {}).values()))
    missing = [name for name in names if not (index.parent / name).is_file() or Path(name).name != name]
    if missing:
        raise InvalidInputError(
            f"{index} names {len(missing)} of {len(names)} weight files that are not there: {', '.join(missing[:3])}",
            cure="copy or download the missing files into the same folder",
        )
    return [index.parent / name for name in names]


def _check_safetensors(file: Path) -> None:
    with file.open("rb") as stream:
        head = stream.read(9)
    size = int.from_bytes(head[:8], "little")
    if len(head) == 9 and head[8:] == b"{" and 8 + size <= file.stat().st_size:
        return
    kind = "a PyTorch pickle" if head.startswith((b"PK", b"\x80")) else "damaged or another format"
    raise CorruptError(f"{file} is not safetensors: it is {kind}", cure="copy or convert the weights again")
