"""Quantised weights: how a folder says it is quantised, whether its record agrees, and what loading it asks of this
installation.

awq, gptq and gguf lie on the disk as such; bnb8 and bnb4 are made from plain weights while they are loaded. Nothing is
loaded here.
"""

import importlib.util
from collections.abc import Mapping
from typing import Any, Final, cast

from rjepa.errors import InvalidInputError
from rjepa.students.catalog import Quantisation, StudentRecord
from rjepa.students.memory import NF4_BLOCK, ModelShape

_PACKAGES: Final[dict[str, tuple[str, ...]]] = {
    "awq": ("gptqmodel",),
    "gptq": ("gptqmodel", "optimum"),
    "bnb8": ("bitsandbytes",),
    "bnb4": ("bitsandbytes",),
    "gguf": ("gguf",),
}
"""What transformers imports to load each."""


def stored_quantisation(config: Mapping[str, Any], llm_tag: str) -> Quantisation:
    """How the weights beside a config.json are quantised.

    Raises:
        InvalidInputError: in a way that no student can be loaded with.
    """
    stored = config.get("quantization_config")
    if not stored:
        return "none"
    on_the_fly = stored.get("load_in_4bit") or stored.get("load_in_8bit")
    method = stored.get("quant_method", "bitsandbytes" if on_the_fly else None)
    if method in ("awq", "gptq"):
        return cast(Quantisation, method)
    if method == "bitsandbytes":
        return "bnb4" if stored.get("load_in_4bit") else "bnb8"
    raise InvalidInputError(
        f"the weights of {llm_tag} are quantised as {method}, which students are not loaded with",
        cure="choose the model's plain weights, or its AWQ or GPTQ ones",
    )


def check_agreement(record: StudentRecord, config: Mapping[str, Any]) -> None:
    """Refuse a record that says otherwise than the folder it names.

    Raises:
        InvalidInputError: what the files are quantised as is not what the record says.
    """
    stored = stored_quantisation(config, record.llm_tag)
    if stored == record.quantisation or (stored == "none" and record.quantisation in ("bnb4", "bnb8")):
        return
    raise InvalidInputError(
        f"the weights of {record.llm_tag} are quantised as {stored}, its record says {record.quantisation}",
        cure=f"rjepa llm remove {record.llm_tag}, and add it with --quantization {stored}",
    )


def check_loadable(record: StudentRecord, device: str) -> None:
    """Refuse what this installation or this device cannot load.

    Raises:
        InvalidInputError: a package is missing, or bitsandbytes has nothing for the device.
    """
    packages = _PACKAGES.get(record.quantisation, ())
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidInputError(
            f"{record.llm_tag} is quantised as {record.quantisation}; {' and '.join(missing)} cannot be imported here",
            cure=_cure(record.quantisation),
        )
    if record.quantisation in ("bnb4", "bnb8") and device == "mps":
        raise InvalidInputError(
            f"bitsandbytes has no kernels for mps, where {record.llm_tag} would run",
            cure="register it with --device cpu, or unquantised in float16",
        )


def check_widths(record: StudentRecord, device: str, shape: ModelShape) -> None:
    """Refuse matrices that bitsandbytes would load in 4 bits and then fail to multiply with.

    Raises:
        InvalidInputError: on the CPU, a width that is no multiple of a block.
    """
    widths = (shape.hidden_size, shape.intermediate_size)
    if record.quantisation == "bnb4" and device == "cpu" and any(width % NF4_BLOCK for width in widths):
        raise InvalidInputError(
            f"{record.llm_tag} has matrices {' and '.join(map(str, widths))} wide; 4 bits on the CPU take multiples of "
            f"{NF4_BLOCK}",
            cure="register it with --quantization bnb8 or none",
        )


def loading_arguments(record: StudentRecord, device: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` for a quantised student. Files that are quantised say so themselves."""
    if record.quantisation in ("none", "gguf"):
        return {}
    arguments: dict[str, Any] = {"device_map": {"": device}}
    if record.quantisation in ("bnb4", "bnb8"):
        import torch
        from transformers import BitsAndBytesConfig

        quantised: Any = BitsAndBytesConfig  # it has no types
        arguments["quantization_config"] = (
            quantised(load_in_8bit=True)
            if record.quantisation == "bnb8"
            else quantised(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, record.dtype)
            )
        )
    return arguments


def _cure(quantisation: Quantisation) -> str:
    if quantisation == "gguf":
        return "pip install -e '.[gguf]' -c constraints.txt"
    if quantisation in ("bnb4", "bnb8"):
        return "pip install -e '.[gpu]' -c constraints.txt, or register the student unquantised in bfloat16"
    return (
        "gptqmodel and this environment's protobuf exclude each other: name an environment that has it "
        "(rjepa llm add ... --environment), or register plain weights with --quantization bnb4"
    )
