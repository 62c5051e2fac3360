"""GGUF weights, unpacked once into a folder that loads like any other.

The folder lies under `unpacked/` of the home, named by the hash of the file and the precision, so that students,
processes and renamed files share it. Deleting it costs nothing but doing this again. Headers are read in `gguf_files`.
"""

import contextlib
import fcntl
import functools
import shutil
import threading
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rjepa.errors import InvalidInputError
from rjepa.files import atomic_folder
from rjepa.progress import Progress, silent
from rjepa.students.catalog import DType
from rjepa.students.gguf_files import read_gguf_header
from rjepa.students.whole import check_whole, quiet_transformers

_patching: Final = threading.Lock()


def unpack_gguf(file: Path, folder: Path, dtype: DType, progress: Progress = silent) -> Path:
    """Unpack a GGUF file into `folder`, in Hugging Face layout, unless that is done. Processes that want the same
    folder wait for the one that makes it; one that was killed leaves nothing behind that the next does not clear.

    Raises:
        InvalidInputError: transformers does not know the architecture, weights are missing, or the file is a part of a
            split model.
        CorruptError: the header cannot be read.
        StorageError: the disk is full, or the home cannot be written.
    """
    if folder.is_dir():
        return folder
    header = read_gguf_header(file)
    if header.parts > 1:
        raise InvalidInputError(
            f"{file} is one of {header.parts} files of a split model",
            cure="join them first: llama-gguf-split --merge FIRST_FILE WHOLE.gguf",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return folder
        for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        with atomic_folder(folder) as made:
            _convert(file, made, dtype, progress)
    return folder


def _convert(file: Path, made: Path, dtype: DType, progress: Progress) -> None:
    header = read_gguf_header(file)
    where: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    with quiet_transformers(f"{file} cannot be unpacked"), _read_once(progress, file.name):
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            file.parent, **where, dtype=getattr(torch, dtype), output_loading_info=True, ignore_mismatched_sizes=True
        )
    model, info = loaded
    check_whole(str(file), info)
    if not tokenizer.chat_template and header.chat_template:
        tokenizer.chat_template = header.chat_template
    if model.generation_config is not None and header.end_ids:
        model.generation_config.eos_token_id = sorted(header.end_ids)
    # What is unpacked is quantised no longer; transformers would refuse to write what it takes for GGUF still.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    with quiet_transformers(f"{file} cannot be unpacked"):
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)


@contextlib.contextmanager
def _read_once(progress: Progress, name: str) -> Iterator[None]:
    """While it lasts, the package gguf reads a file once, and not once for each of tokenizer, configuration and weights
    (it takes 16 s for a vocabulary of 150 000 tokens each time); transformers' bar becomes our progress.
    """
    modules = [import_module(name) for name in ("gguf", "transformers.modeling_gguf_pytorch_utils")]
    places: list[tuple[Any, str]] = list(zip(modules, ("GGUFReader", "tqdm"), strict=True))

    def counted(tensors: Iterable[Any], **options: Any) -> Iterator[Any]:
        rows = list(tensors)
        for number, tensor in enumerate(rows):
            yield tensor
            progress(number + 1, len(rows), f"unpacking {name}, once")

    with _patching:
        whole = [getattr(module, attribute) for module, attribute in places]
        for (module, attribute), stand_in in zip(places, (functools.cache(whole[0]), counted), strict=True):
            setattr(module, attribute, stand_in)
        try:
            yield
        finally:
            for (module, attribute), original in zip(places, whole, strict=True):
                setattr(module, attribute, original)
