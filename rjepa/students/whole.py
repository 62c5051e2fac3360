"""Is a checkpoint whole? What transformers says while it loads one, turned into an error, a warning or nothing.

Which files there are belongs to `rjepa.students.weights`: here it is about the tensors in them.
"""

import contextlib
import logging
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from rjepa.errors import InvalidInputError

_log = logging.getLogger(__name__)

_NAMED: Final = 6
"""Tensors that a message names: one layer's worth; of more, the number is given."""

_PARTS_OF_WEIGHTS: Final = re.compile(
    r"\.(?:weight_scale(?:_inv)?|input_scale|scales|qzeros|g_idx|qweight|absmax|quant_map|quant_state\..+|SCB"
    r"|lora_(?:[AB]|embedding_[AB]|magnitude_vector)(?:\..+)?)$"
)
"""Names of what belongs to a weight and changes it: the scales of a quantised one, a LoRA beside it."""
_CHECKED: Final = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

_loading: Final = threading.RLock()
"""How loudly transformers speaks is one setting for the whole process."""


def check_whole(what: str, info: Mapping[str, Any]) -> tuple[str, ...]:
    """Refuse a checkpoint that lacks a weight: transformers would draw it at random, another one each time. Weights
    that the model has no place for are logged as a warning and returned, sorted.

    Args:
        what: the checkpoint, for messages.
        info: what `from_pretrained` returns for `output_loading_info`.

    Raises:
        InvalidInputError: weights are missing, or have another shape than the configuration says, or what is left over
            belongs to the others: without it they are other weights.
    """
    missing = sorted(info.get("missing_keys") or ())
    if missing:
        raise InvalidInputError(
            f"{what} lacks {len(missing)} of the weights of its model: {_some(missing)}",
            cure="copy or download the checkpoint again, with all its files; nothing is made up in their place",
        )
    mismatched = sorted(info.get("mismatched_keys") or ())
    if mismatched:
        shapes = [f"{name} is {list(found)}, expected {list(wanted)}" for name, found, wanted in mismatched]
        raise InvalidInputError(
            f"{what} has {len(mismatched)} weights of other shapes than its config.json says: {_some(shapes)}",
            cure="put the config.json and the weights of one and the same model into the folder",
        )
    faults = [str(error) for error in info.get("error_msgs") or ()]
    if faults:
        raise InvalidInputError(f"{what} cannot be loaded whole: {_some(faults)}", cure="copy or download it again")
    leftover = tuple(sorted(info.get("unexpected_keys") or ()))
    parts = [name for name in leftover if _PARTS_OF_WEIGHTS.search(name)]
    if parts:
        raise InvalidInputError(
            f"{what} holds {len(parts)} scales or LoRA matrices that its config.json says nothing of: {_some(parts)}",
            cure="bring config.json's quantization_config back, or merge the LoRA; without them the weights are wrong",
        )
    if leftover:
        _log.warning("%s holds %d weights that its model has no place for: %s", what, len(leftover), _some(leftover))
    return leftover


def check_finite(what: str, model: torch.nn.Module) -> None:
    """Refuse weights that are no numbers: whatever is computed with them is none either.

    Raises:
        InvalidInputError: a weight is NaN or infinite.
    """
    broken = [
        name
        for name, weight in model.named_parameters()
        if weight.dtype in _CHECKED and weight.numel() and not all(map(torch.isfinite, torch.aminmax(weight.detach())))
    ]
    if broken:
        raise InvalidInputError(
            f"{what} has NaN or infinity in {len(broken)} of its weights: {_some(broken)}",
            cure="take another checkpoint: this one's training broke down, or its file is damaged",
        )


@contextlib.contextmanager
def quiet_transformers(problem: str) -> Iterator[None]:
    """While it lasts, transformers draws no bars and warns of nothing; what it cannot do becomes an error of ours.

    Raises:
        InvalidInputError: it failed; `problem` says with what.
    """
    with _loading:
        verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity(logging.CRITICAL)
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except (ValueError, KeyError, OSError, RuntimeError, ImportError, SafetensorError) as error:
            raise InvalidInputError(
                f"{problem}: {error}",
                cure="check that it is a whole causal language model that this transformers knows",
            ) from error
        finally:
            transformers_logging.set_verbosity(verbosity)
            if bars:
                transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
