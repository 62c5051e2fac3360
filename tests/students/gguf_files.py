"""Write a tiny Llama or Qwen3 as GGUF, as llama.cpp's converter would: names, metadata, the order of rotary rows."""

import json
from pathlib import Path

import gguf
import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(
    file: Path,
    model: PreTrainedModel,
    words: PreTrainedTokenizerFast,
    kind: str = "F32",
    *,
    chat_template: str | None = None,
    leave_out: str | None = None,
) -> Path:
    """`kind` is the type that matrices are stored in: F32, or a quantised one such as Q8_0. `leave_out` begins the name
    of a tensor that is not written.
    """
    config, writer = model.config, gguf.GGUFWriter(file, model.config.model_type)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, words)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    stored = gguf.GGMLQuantizationType[kind]
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if leave_out is not None and name.startswith(leave_out):
            continue
        values = tensor.float().numpy()
        if config.model_type == "llama" and name.endswith("q_proj.weight"):
            values = _rotary_order(values, config.num_attention_heads)
        if config.model_type == "llama" and name.endswith("k_proj.weight"):
            values = _rotary_order(values, config.num_key_value_heads)
        if values.ndim == 1 or kind == "F32" or values.shape[-1] % gguf.GGML_QUANT_SIZES[stored][0]:
            writer.add_tensor(_gguf_name(name), np.ascontiguousarray(values))
        else:
            writer.add_tensor(_gguf_name(name), gguf.quants.quantize(values, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(writer: gguf.GGUFWriter, words: PreTrainedTokenizerFast) -> None:
    special = set(words.all_special_ids)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")  # single digits, then GPT-2's words: as `tests.students.tiny.tokenizer`
    writer.add_add_bos_token(False)
    writer.add_token_list(words.convert_ids_to_tokens(list(range(len(words)))))
    kinds = [gguf.TokenType.CONTROL if index in special else gguf.TokenType.NORMAL for index in range(len(words))]
    writer.add_token_types(kinds)
    merges = json.loads(words.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) if isinstance(pair, list) else pair for pair in merges])
    writer.add_eos_token_id(words.eos_token_id)


def _gguf_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem.startswith("model.layers."):
        _, _, layer, part = stem.split(".", 3)
        return f"blk.{layer}.{_NAMES[part]}.{kind}"
    return f"{_NAMES[stem]}.{kind}"


def _rotary_order(values: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp pairs neighbouring rows of a Llama where transformers pairs halves."""
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
