"""Tiny random models of many architectures, in folders such as a user would point at."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.students.tiny import tokenizer

ARCHITECTURES = (
    "mistral",
    "gemma2",
    "gemma3_text",
    "gpt_neox",
    "phi",
    "phi3",
    "qwen2",
    "olmo2",
    "smollm3",
    "qwen3_moe",
)


def write_model(
    folder: Path,
    architecture: str,
    words: PreTrainedTokenizerFast | None = None,
    max_shard: str = "1GB",
    **changes: object,
) -> Path:
    """A model folder of this architecture: 3 layers of width 32, a context of 256."""
    words = words or tokenizer()
    torch.manual_seed(3)
    shape: dict[str, object] = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4 if architecture in ("gpt_neox", "phi") else 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.15,
        "bos_token_id": None,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": None,
    }
    if architecture in ("gemma2", "gemma3_text"):
        shape |= {"head_dim": 8, "sliding_window": 32, "query_pre_attn_scalar": 8}
    if architecture == "qwen3_moe":
        shape |= {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **(shape | changes)))
    words.save_pretrained(folder)
    model.save_pretrained(folder, max_shard_size=max_shard)
    return folder


def write_seeing_model(folder: Path) -> Path:
    """A tiny Gemma 3 that can be shown images too: its layers lie one level deeper than others'."""
    words = tokenizer()
    torch.manual_seed(3)
    text = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "sliding_window": 32,
        "query_pre_attn_scalar": 8,
        "max_position_embeddings": 256,
        "initializer_range": 0.15,
        "bos_token_id": None,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": None,
    }
    sight = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=sight, mm_tokens_per_image=4)
    words.save_pretrained(folder)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder
