"""Weights and training state to one safetensors file each, with their JSON in its header: never half of one, no pickle.

`model.safetensors` is the trained model with its config: what is served. `training.safetensors` is everything that a
killed run needs to go on as if nothing had happened.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from rjepa.errors import CorruptError, NotFoundError
from rjepa.files import sha256_file
from rjepa.jepa.config import JepaConfig
from rjepa.jepa.model import RJepa, build_model
from rjepa.jepa.optimizer import Optimizers
from rjepa.onednn import use_onednn
from rjepa.safetensors_files import load_tensors, on_cpu, save_tensors

MODEL_FILE: Final = "model.safetensors"
TRAINING_FILE: Final = "training.safetensors"
_FORMAT: Final = "rjepa-model-1"
_MUCH_WORK: Final = 20_000_000
"""Multiplications of one product, from which on oneDNN is faster even where the number of segments is new to it."""

_CURE: Final = "delete its folder and materialise it again (rjepa_checkpoint, or a decoder's asset)"


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands: plain JSON values. `fingerprint` names config and data; a run resumes only its own."""

    fingerprint: str
    update: int
    seconds: float
    curve: list[dict[str, float]]
    window: list[dict[str, float]]
    validation: list[dict[str, float]]


def save_model(folder: Path, model: RJepa) -> str:
    """Atomically write the model; returns the file's SHA-256, equal for equal weights and config."""
    about = {
        "format": _FORMAT,
        "config": model.config.model_dump(mode="json"),
        "width": model.width,
        "domain_names": list(model.domain_names),
    }
    save_tensors(folder / MODEL_FILE, on_cpu(model.state_dict()), about)
    return sha256_file(folder / MODEL_FILE)


def load_model(folder: Path, device: torch.device | str = "cpu") -> RJepa:
    """The trained model of a folder, in evaluation mode and without gradients.

    Raises:
        NotFoundError: nothing was trained here.
        CorruptError: the file is cut short, or is not a model of this format.
    """
    path = folder / MODEL_FILE
    if not path.exists():
        raise NotFoundError(f"there is no trained R-JEPA in {folder}", cure="materialise rjepa_checkpoint")
    tensors, about = load_tensors(path, _CURE)
    try:
        if about["format"] != _FORMAT:
            raise CorruptError(f"{path} has format {about['format']!r}, expected {_FORMAT!r}", cure=_CURE)
        model = build_model(
            JepaConfig.model_validate(about["config"]), int(about["width"]), tuple(about["domain_names"])
        )
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValidationError, RuntimeError) as error:
        raise CorruptError(f"{path} is not an R-JEPA ({error})", cure=_CURE) from error
    use_onednn(model, _MUCH_WORK)
    return model.to(device).eval().requires_grad_(False)


def save_training(
    folder: Path, model: nn.Module, optimizers: Optimizers, generator: torch.Generator, state: TrainingState
) -> None:
    """Atomically write weights, the optimisers' moments, random state and the run's own counters."""
    tensors = {f"model.{name}": tensor for name, tensor in on_cpu(model.state_dict()).items()}
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            for moment, tensor in on_cpu(optimizer.state.get(parameter, {})).items():
                tensors[f"optimizer.{moment}.{name}"] = tensor
    tensors["random"] = generator.get_state()
    save_tensors(folder / TRAINING_FILE, tensors, vars(state))


def load_training(
    folder: Path, fingerprint: str, model: nn.Module, optimizers: Optimizers, generator: torch.Generator
) -> TrainingState | None:
    """Fill model, optimisers and generator from a checkpoint of the same run; None if there is none.

    A checkpoint of another config or other data is not an error: the new run starts over and replaces it.

    Raises:
        CorruptError: the checkpoint cannot be read.
    """
    path = folder / TRAINING_FILE
    if not path.exists():
        return None
    tensors, about = load_tensors(path, _CURE)
    try:
        if about["fingerprint"] != fingerprint:
            return None
        model.load_state_dict({name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")})
        names = {parameter: name for name, parameter in model.named_parameters()}
        moments: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                moment, owner = name.removeprefix("optimizer.").split(".", 1)
                moments.setdefault(owner, {})[moment] = tensor
        for optimizer in optimizers:
            for parameter in (each for group in optimizer.param_groups for each in group["params"]):
                if found := moments.get(names[parameter]):
                    # AdamW keeps its step counter where the parameter is when fused, as it is here on every device.
                    optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in found.items()}
        generator.set_state(tensors["random"])
        return TrainingState(**about)
    except (KeyError, TypeError, RuntimeError) as error:
        raise CorruptError(f"{path} is not a training checkpoint ({error})", cure=_CURE) from error
