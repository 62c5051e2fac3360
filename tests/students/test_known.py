"""The catalogue: every entry's shape is that of a real model, and names that are near are found."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rjepa.errors import NotFoundError
from rjepa.students.known import KnownModel, find_known, get_known, list_known


def parameters(model: KnownModel, layers: int) -> int:
    """Counted by transformers, which builds the model without memory."""
    shape = {
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "vocab_size": model.vocab_size,
        "tie_word_embeddings": model.tied,
        "max_position_embeddings": model.context_length,
        "pad_token_id": None,
    }
    if model.experts:
        shape |= {"num_experts": model.experts, "moe_intermediate_size": model.expert_size}
    config = AutoConfig.for_model(model.architecture, **shape)
    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in built.parameters())


@pytest.mark.parametrize("model", list_known(), ids=lambda model: model.name)
def test_a_model_of_this_shape_has_the_parameters_that_are_published(model: KnownModel) -> None:
    one, two = parameters(model, 1), parameters(model, 2)
    assert one + (model.num_layers - 1) * (two - one) == model.parameters
    assert model.shape.table_parameters < model.parameters


def test_the_catalogue_is_wide_and_names_each_model_once() -> None:
    models = list_known()
    assert len(models) >= 18
    assert len({model.name for model in models}) == len({model.hub_id for model in models}) == len(models)
    assert {"qwen3-0.6b", "qwen3-8b-awq", "llama3.1-8b", "mistral-7b", "phi4", "yi1.5-9b", "gemma2-2b"} <= {
        model.name for model in models
    }


def test_a_model_is_found_by_its_name_and_by_its_hub_id() -> None:
    assert get_known("Qwen3-8B") is not None
    assert find_known("Qwen/Qwen3-8B") == get_known("qwen3-8b")
    assert find_known("somebody/else") is None


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(NotFoundError, match="near it: qwen3-8b.*\n.*--catalog"):
        get_known("qwen3-8")
