"""LoRAs that peft itself wrote, for tests: random ones, of any of its kinds."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

ALL_PRODUCTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def write_peft(base: Path, folder: Path, seed: int = 0, targets: Sequence[str] = ALL_PRODUCTS, **more: Any) -> Path:
    """A LoRA of the model in `base`, which changes what it writes: peft's own start would add nothing."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    options = {"r": 4, "lora_alpha": 8, "target_modules": list(targets), "task_type": "CAUSAL_LM"} | more
    with by_peft():
        wrapped = get_peft_model(model, LoraConfig(**options))
    with torch.no_grad():
        for name, one in wrapped.named_parameters():
            if "lora_B" in name:
                one.normal_(std=0.2)
    with by_peft():
        wrapped.save_pretrained(folder)
    return folder


@contextmanager
def by_peft() -> Iterator[None]:
    """peft asks transformers for names that are deprecated there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
