"""Put a LoRA onto a loaded model: beside its matrices, or merged into them. peft does it; what it would only warn of is
refused here. Which LoRA belongs to which student is settled in `rjepa.students.resolving`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from transformers import PreTrainedModel

from rjepa.errors import InvalidInputError
from rjepa.students.lora.files import Lora, read_lora
from rjepa.students.whole import quiet_transformers

if TYPE_CHECKING:
    from peft import PeftModel

_NAMED: Final = 3
"""Matrices that a message names."""


def load_lora(model: PreTrainedModel, folder: Path, *, merge: bool = True) -> PreTrainedModel:
    """The model with a LoRA, in place: the same object, whose matrices are changed.

    Args:
        merge: add the LoRA's products into the matrices, so that the model has the shape, the speed and the fused
            decoding of its base. Otherwise they are worked out beside, which is what quantised matrices need.

    Raises:
        RjepaError: as `rjepa.students.lora.files.read_lora`.
        InvalidInputError: the LoRA belongs to a model of another architecture or width.
    """
    lora = read_lora(folder)
    wrapped = attach_lora(model, lora)
    if merge:
        with quiet_transformers(f"{folder} cannot be merged"):
            wrapped.merge_and_unload(safe_merge=True)
    return cast(PreTrainedModel, cast(Any, model).eval().requires_grad_(False))


def attach_lora(model: PreTrainedModel, lora: Lora, adapter: str = "default") -> "PeftModel":
    """Peft's wrapper around the model, with the LoRA beside its matrices and active. The model itself is changed: its
    matrices become peft's layers, which hold the base's weights once and any number of LoRAs
    (`set_adapter`, `disable_adapter`, `load_adapter`, `delete_adapter` of the wrapper).

    Raises:
        InvalidInputError: the LoRA belongs to a model of another architecture or width.
    """
    from peft import LoraConfig, PeftModel, get_peft_model_state_dict

    config = LoraConfig(**lora.config)
    with quiet_transformers(f"{lora.folder} does not fit {type(model).__name__}"):
        wrapped = PeftModel.from_pretrained(model, str(lora.folder), adapter, config=config)
    # "auto" would ask the hub for the base's configuration.
    tensors = get_peft_model_state_dict(wrapped, adapter_name=adapter, save_embedding_layers=False)
    wanted = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != dict(lora.shapes):
        differing = sorted({*wanted.items()} ^ {*lora.shapes.items()})
        names = ", ".join(sorted({name for name, _ in differing})[:_NAMED])
        raise InvalidInputError(
            f"{lora.folder} has {len(lora.shapes)} matrices, {len(wanted)} of its model take one; not in both: {names}",
            cure="put the LoRA onto the model that it was trained on",
        )
    return wrapped
