"""The weight files of a model: which they are, whether they are what they call themselves, and how many parameters they
hold. Headers are read, never tensors.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rjepa.errors import InvalidInputError
from rjepa.files import read_json
from rjepa.safetensors_files import read_header
from rjepa.students.gguf_files import read_gguf_header

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
        read_header(file)
    return files


def count_parameters(files: list[Path], config: Mapping[str, Any]) -> int:
    """Parameters in safetensors or GGUF files. Packed weights (AWQ, GPTQ) count as what they were before.

    Args:
        config: the model's config.json, for the bits of packed weights.

    Raises:
        CorruptError: a header cannot be read.
    """
    bits = int((config.get("quantization_config") or {}).get("bits", 4))
    return sum(_in_gguf(file) if file.suffix == ".gguf" else _in_safetensors(file, bits) for file in files)


def _in_safetensors(file: Path, bits: int) -> int:
    total = 0
    for name, shape in read_header(file).shapes.items():
        if not name.endswith(_SCALES):
            total += math.prod(shape) * (32 // bits if name.endswith(".qweight") else 1)
    return total


def _in_gguf(file: Path) -> int:
    return read_gguf_header(file).parameters


def _shards(index: Path) -> list[Path]:
    names = sorted(set(read_json(index).get("weight_map", {}).values()))
    missing = [name for name in names if not (index.parent / name).is_file() or Path(name).name != name]
    if missing:
        raise InvalidInputError(
            f"{index} names {len(missing)} of {len(names)} weight files that are not there: {', '.join(missing[:3])}",
            cure="copy or download the missing files into the same folder",
        )
    return [index.parent / name for name in names]
