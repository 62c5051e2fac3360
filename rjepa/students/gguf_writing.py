"""Write a student's weights and tokenizer as one GGUF file, which llama.cpp and those built on it load.

Llama and Qwen3 whose tokenizer was trained here, which the bundled students and those of recipes are. Other models have
tokenizers that llama.cpp knows by name alone; its own convert_hf_to_gguf.py knows the names. GGUF is read in
`rjepa.students.gguf_files` and `rjepa.students.unpacking`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rjepa.arrays import Float32
from rjepa.errors import InvalidInputError
from rjepa.files import atomic_path, read_json
from rjepa.students.tokenizer import SPLIT_PATTERN
from rjepa.students.weights import weight_files

if TYPE_CHECKING:
    import gguf

_ARCHITECTURES: Final = {"LlamaForCausalLM": "llama", "Qwen3ForCausalLM": "qwen3"}

_PRE_TOKENIZER: Final = "gpt-2"
"""llama.cpp's name for how text is split before merges. GPT-2's pattern splits less often than ours, between digits and
at apostrophes; no merge of ours crosses such a place, so that the tokens are the same. Runs of two or more spaces
before a word are split at another place, and give other tokens."""
_CONVERTER: Final = "convert it with llama.cpp's own convert_hf_to_gguf.py, or export it as safetensors"


def write_gguf(folder: Path, file: Path, name: str) -> None:
    """Write the model of a folder in Hugging Face layout as GGUF, in 32-bit floats: nothing is lost, nothing quantised.

    Args:
        name: what the file calls the model.

    Raises:
        InvalidInputError: the package gguf is missing, or the architecture, its rotary embedding or its tokenizer is
            one that this writer does not know.
    """
    try:
        import gguf
    except ImportError as error:
        raise InvalidInputError("the package gguf is not installed", cure="pip install 'rjepa[gguf]'") from error

    config, tokenizer = read_json(folder / "config.json"), read_json(folder / "tokenizer.json")
    architecture = _check(folder, config, tokenizer)
    with atomic_path(file) as made:
        writer = gguf.GGUFWriter(made, architecture)
        try:
            _add_shape(writer, config, name)
            _add_tokenizer(writer, config, tokenizer)
            _add_weights(writer, folder, config, architecture)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def _check(folder: Path, config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> str:
    """llama.cpp's name of the architecture. Raises where llama.cpp would take what is written for something else."""
    known = [_ARCHITECTURES[kind] for kind in config.get("architectures") or [] if kind in _ARCHITECTURES]
    if not known:
        raise InvalidInputError(
            f"{folder} is neither a Llama nor a Qwen3, which alone are written as GGUF", cure=_CONVERTER
        )
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default" or config.get("attention_bias") or config.get("mlp_bias"):
        raise InvalidInputError(
            f"{folder} has scaled rotary embeddings or biases, which are not written", cure=_CONVERTER
        )
    model, patterns = tokenizer["model"], json.dumps(tokenizer.get("pre_tokenizer"))
    if model["type"] != "BPE" or json.dumps(SPLIT_PATTERN) not in patterns or tokenizer.get("normalizer"):
        raise InvalidInputError(
            f"the tokenizer of {folder} was not trained here: llama.cpp would split text otherwise", cure=_CONVERTER
        )
    return known[0]


def _add_shape(writer: "gguf.GGUFWriter", config: Mapping[str, Any], name: str) -> None:
    writer.add_name(name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(float(config["rope_parameters"]["rope_theta"]))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(0)  # all in 32-bit floats


def _add_tokenizer(writer: "gguf.GGUFWriter", config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> None:
    import gguf

    special = {token["id"]: token["content"] for token in tokenizer["added_tokens"] if token["special"]}
    by_id = {index: token for token, index in tokenizer["model"]["vocab"].items()} | special
    ids = range(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_PRE_TOKENIZER)
    writer.add_token_list([by_id.get(index, f"[PAD{index}]") for index in ids])
    kinds = gguf.TokenType
    writer.add_token_types(
        [kinds.CONTROL if index in special else kinds.NORMAL if index in by_id else kinds.UNUSED for index in ids]
    )
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    writer.add_add_bos_token(False)
    writer.add_eos_token_id(config["eos_token_id"])
    if config.get("pad_token_id") is not None:
        writer.add_pad_token_id(config["pad_token_id"])


def _add_weights(writer: "gguf.GGUFWriter", folder: Path, config: Mapping[str, Any], architecture: str) -> None:
    import gguf
    from safetensors.torch import load_file

    kind = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    names = gguf.get_tensor_name_map(kind, config["num_hidden_layers"])
    for part in weight_files(folder):
        for name, tensor in load_file(part).items():
            if name == "lm_head.weight" and config.get("tie_word_embeddings"):
                continue
            values: Float32 = tensor.float().numpy()
            if architecture == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
                heads = "num_attention_heads" if name.endswith("q_proj.weight") else "num_key_value_heads"
                values = _neighbours(values, config[heads])
            written = names.get_name(name, try_suffixes=(".weight",))
            if written is None:
                raise InvalidInputError(f"llama.cpp has no place for the tensor {name}", cure=_CONVERTER)
            writer.add_tensor(written, np.ascontiguousarray(values))


def _neighbours(values: Float32, heads: int) -> Float32:
    """Rows in llama.cpp's order: it rotates neighbouring rows of a Llama's head together, where transformers rotates
    row i of the head's first half with row i of its second.
    """
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
