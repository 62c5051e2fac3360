"""A trained decoder as one safetensors file, its config and vocabulary in the header: never half of one, no pickle."""

import json
from pathlib import Path
from typing import Any, Final

import torch

from rjepa.errors import CorruptError, NotFoundError
from rjepa.files import sha256_file
from rjepa.safetensors_files import load_tensors, on_cpu, read_header, save_tensors
from rjepa.verbalizer.config import DecoderConfig
from rjepa.verbalizer.model import Decoder, build_decoder
from rjepa.verbalizer.vocabulary import Vocabulary

DECODER_FILE: Final = "model.safetensors"
_FORMAT: Final = "rjepa-decoder-1"
_CURE: Final = "delete its folder and materialise it again"


def save_decoder(folder: Path, decoder: Decoder, made_for: str) -> str:
    """Atomically write a decoder; returns the file's SHA-256, equal for equal weights, config and vocabulary.

    Args:
        made_for: names the R-JEPA whose latents it speaks (`rjepa.verbalizer.made.current_world_model`).
    """
    about: dict[str, Any] = {
        "format": _FORMAT,
        "made_for": made_for,
        "config": decoder.config.model_dump(mode="json"),
        "columns": decoder.columns,
        "tokens": list(decoder.vocabulary.tokens),
        "student_size": decoder.vocabulary.student_size,
        "pieces": [piece.hex() for piece in decoder.vocabulary.pieces],
    }
    save_tensors(folder / DECODER_FILE, on_cpu(decoder.state_dict()), about)
    return sha256_file(folder / DECODER_FILE)


def is_made_for(folder: Path, world_model: str) -> bool:
    """Whether a folder holds a decoder, and one for this R-JEPA: one that was made for another says nothing of it."""
    return bool(_about(folder).get("made_for") == world_model)


def recipe_of(folder: Path) -> str:
    """Name of the training run that made the decoder of a folder; empty where there is none."""
    return str(_about(folder).get("config", {}).get("name", ""))


def _about(folder: Path) -> dict[str, Any]:
    """What is written in the header of a folder's decoder; nothing where there is none."""
    path = folder / DECODER_FILE
    if not path.is_file():
        return {}
    try:
        about: dict[str, Any] = json.loads(read_header(path).metadata.get("rjepa", "{}"))
    except (CorruptError, ValueError):
        return {}
    return about


def load_decoder(folder: Path, device: torch.device | str = "cpu") -> Decoder:
    """The trained decoder of a folder, without gradients.

    Raises:
        NotFoundError: nothing was trained here.
        CorruptError: the file is cut short, or is not a decoder of this format.
    """
    path = folder / DECODER_FILE
    if not path.exists():
        raise NotFoundError(f"there is no trained decoder in {folder}", cure="materialise latent_decoder")
    tensors, about = load_tensors(path, _CURE)
    try:
        if about["format"] != _FORMAT:
            raise CorruptError(f"{path} has format {about['format']!r}, expected {_FORMAT!r}", cure=_CURE)
        pieces = tuple(bytes.fromhex(piece) for piece in about["pieces"])
        vocabulary = Vocabulary(tuple(int(token) for token in about["tokens"]), pieces, int(about["student_size"]))
        decoder = build_decoder(DecoderConfig.model_validate(about["config"]), vocabulary, int(about["columns"]))
        decoder.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CorruptError(f"{path} is not a decoder ({error})", cure=_CURE) from error
    return decoder.to(device).eval().requires_grad_(False)
