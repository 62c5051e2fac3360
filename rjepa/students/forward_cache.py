"""What transformers' own forward leaves of prompts in its cache.

Legend: prompts P, key heads M, prompt tokens T, head size D.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


def read_by_forward(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "prompts tokens"],
    mask: Bool[Tensor, "prompts tokens"],
    kept: int,
) -> tuple[list[tuple[Tensor, Tensor]], Float[Tensor, "prompts kept vocab"]]:
    """As `rjepa.students.fused.ReadingDecoder.read`, by transformers' own forward."""
    cache = DynamicCache(config=model.config)
    # By place: a slice of the states lies apart in memory, for which PyTorch copies the whole head another way.
    places = torch.arange(input_ids.shape[1] - kept, input_ids.shape[1], device=mask.device)
    output = model(
        input_ids=input_ids,
        attention_mask=mask.long(),
        position_ids=positions_of(mask),
        past_key_values=cache,
        logits_to_keep=places,
    )
    pairs = [keys_and_values(layer) for layer in cache.layers]
    return [(keys.transpose(2, 3).contiguous(), values.contiguous()) for keys, values in pairs], output.logits


def keys_and_values(layer: Any) -> tuple[Tensor, Tensor]:
    """What a layer of transformers' cache for attention holds, each [rows, M, tokens, D]."""
    return layer.keys, layer.values


def positions_of(mask: Bool[Tensor, "prompts tokens"]) -> Int[Tensor, "prompts tokens"]:
    """The position of every token of left-padded prompts."""
    return (mask.long().cumsum(-1) - 1).clamp_(min=0)
