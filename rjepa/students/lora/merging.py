"""A student with a LoRA as a model folder of its own, for what knows no LoRAs: quantisers, llama.cpp, others."""

import shutil
from pathlib import Path
from typing import Any, Final, cast

from rjepa.errors import InvalidInputError
from rjepa.files import atomic_folder
from rjepa.students.loading import load_student, loadable_folder
from rjepa.students.resolving import ResolvedStudent

_BESIDE: Final = frozenset({".json", ".jinja", ".txt", ".model"})
"""Suffixes of what lies beside weights: tokenizer, chat template, configuration."""


def write_merged(resolved: ResolvedStudent, out: Path) -> Path:
    """Write a student's weights with its LoRA added into them, and all that lies beside the base's, into a new folder.

    Raises:
        InvalidInputError: the student has no LoRA, its matrices are quantised, or the folder is there already.
    """
    record = resolved.record
    if resolved.lora is None:
        raise InvalidInputError(f"{record.llm_tag} has no LoRA", cure=f"its weights are in {resolved.path} as they are")
    if record.quantisation not in ("none", "gguf"):
        raise InvalidInputError(
            f"the matrices of {record.llm_tag} are quantised as {record.quantisation}, and take no sums",
            cure="train the LoRA on the plain weights, merge it there, and quantise what comes of that",
        )
    if out.exists():
        raise InvalidInputError(f"{out} is there already", cure="name a folder that does not exist yet")
    student = load_student(resolved, device="cpu")
    with atomic_folder(out) as folder:
        for path in loadable_folder(resolved).iterdir():
            if path.suffix in _BESIDE and not path.name.endswith(".safetensors.index.json"):
                shutil.copyfile(path, folder / path.name)
        cast(Any, student.model).save_pretrained(folder)
    return out
