"""Small random LoRAs as peft itself writes them, and students that have one."""

import warnings
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from rjepa.home import Home
from rjepa.students.catalog import StudentRecord, save_record
from rjepa.students.lora.files import Lora, lora_folder, seal_lora
from rjepa.students.lora.registering import describe_lora, register_lora, resolve_base


def plain_model(folder: Path) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return cast(PreTrainedModel, cast(Any, model).eval())


def write_peft(model: Path, folder: Path, seed: int = 0, **changes: Any) -> torch.nn.Module:
    """A LoRA that is not 0, saved by peft; returns the model with it."""
    torch.manual_seed(seed)
    values: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "init_lora_weights": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers for a property that is deprecated
        wrapped = get_peft_model(plain_model(model), LoraConfig(**values | changes, task_type="CAUSAL_LM"))
        wrapped.save_pretrained(str(folder), save_embedding_layers=False)
    return wrapped.eval()


def with_peft(model: Path, lora: Path) -> torch.nn.Module:
    """A model with a LoRA, as peft itself reads the folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(plain_model(model), str(lora)).eval()


def put_lora(
    home: Home, base: StudentRecord, name: str, scratch: Path, seed: int = 0, **changes: Any
) -> tuple[Lora, StudentRecord]:
    """A sealed LoRA of a student, and the record of the student with it."""
    save_record(home, base)
    resolved = resolve_base(home, base.llm_tag)
    write_peft(resolved.path, scratch, seed, **changes)
    manifest = describe_lora(resolved, name, origin="imported")
    lora = seal_lora(scratch, lora_folder(home, base.llm_tag, name), manifest)
    return lora, register_lora(home, lora)
