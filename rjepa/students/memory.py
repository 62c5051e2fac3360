"""How much memory a student needs: arithmetic on its shape. What devices have belongs to `rjepa.students.devices`.

    weights   parameters x bytes of the precision; where quantised, the layers' matrices at the bits below and what is
              never quantised (the table of embeddings, an untied output head) in the precision
    cache     2 x layers x key-value heads x head size x bytes x chains x context: keys and values of every token
    working   float32 logits, their softmax and its cumulative sum for every chain (3 x chains x vocabulary x 4), the
              hidden states that are kept (chains x context x hidden size), and one forward of 2048 tokens through a
              layer (8 x hidden + 3 x intermediate size a token)

Not counted: the second copy of bfloat16 weights that a CPU keeps in oneDNN's order, of models whose layers take at most
an eighth of the machine's memory (`rjepa.onednn`).

Sizes are bytes. The cache is an upper bound: chains of a problem share their prompt, and sliding windows keep less.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rjepa.students.catalog import DType, Quantisation, Sampling

BYTES: Final[dict[DType, int]] = {"float32": 4, "bfloat16": 2, "float16": 2}

_FORWARD_TOKENS: Final = 2048
"""Tokens of one forward: a batch of latent extraction, or a few long prompts."""

_GROUP: Final = 128
"""Weights that share a scale in AWQ and GPTQ files, as nearly all are made."""

NF4_BLOCK: Final = 64
"""Weights that share a float32 scale in bitsandbytes' 4 bits."""


@dataclass(frozen=True)
class ModelShape:
    """What of a model decides its size. `expert_parameters` are those of a mixture's experts, within `parameters`."""

    parameters: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    tied: bool
    expert_parameters: int = 0

    @property
    def table_parameters(self) -> int:
        """Embeddings and output head: never quantised."""
        return self.vocab_size * self.hidden_size * (1 if self.tied else 2)


@dataclass(frozen=True)
class Workload:
    """Chains decoded together, and the tokens each may have, its prompt included."""

    chains: int = 8
    context: int = 2048


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes, and the shape that they were worked out from."""

    shape: ModelShape
    weights: int
    cache: int
    working: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.working


def workload_of(sampling: Sampling) -> Workload:
    """What a student is asked for when it is sampled: a full batch, and prompts as long as the chains."""
    return Workload(sampling.batch_size, 2 * sampling.max_new_tokens)


def bits_a_weight(quantisation: Quantisation, shape: ModelShape, dtype: DType) -> float:
    """Bits of one weight of the layers' matrices, scales included.

    awq, gptq: 4, and a 16-bit scale and a 4-bit zero for each group of 128. bnb4: 4, and a 32-bit scale for each block
    of 64. bnb8: 8, and a 32-bit scale a row. gguf: unpacked while loading.
    """
    if quantisation in ("awq", "gptq"):
        return 4 + (16 + 4) / _GROUP
    if quantisation == "bnb4":
        return 4 + 32 / NF4_BLOCK
    if quantisation == "bnb8":
        return 8 + 32 / shape.hidden_size
    return 8 * BYTES[dtype]


def weight_bytes(shape: ModelShape, quantisation: Quantisation, dtype: DType) -> int:
    """Bytes of the loaded weights. bitsandbytes leaves a mixture's experts as they are: they are no linear layers."""
    plain = shape.table_parameters
    if quantisation in ("bnb4", "bnb8"):
        plain += shape.expert_parameters
    bits = bits_a_weight(quantisation, shape, dtype)
    return math.ceil((shape.parameters - plain) * bits / 8) + plain * BYTES[dtype]


def memory_need(
    shape: ModelShape, quantisation: Quantisation, dtype: DType, workload: Workload = Workload()
) -> MemoryNeed:
    """What a student needs to sample `workload`."""
    size, tokens = BYTES[dtype], workload.chains * workload.context
    logits = 3 * workload.chains * shape.vocab_size * 4
    forward = _FORWARD_TOKENS * (8 * shape.hidden_size + 3 * shape.intermediate_size) * size
    return MemoryNeed(
        shape=shape,
        weights=weight_bytes(shape, quantisation, dtype),
        cache=2 * shape.num_layers * shape.kv_heads * shape.head_dim * size * tokens,
        working=logits + tokens * shape.hidden_size * size + forward,
    )


def shape_from_config(config: Mapping[str, Any], parameters: int) -> ModelShape:
    """The shape that a Hugging Face config.json tells of, under the names that GPT-2 and its like use too."""
    text = config.get("text_config") or config

    def first(*names: str, default: int = 0) -> int:
        return int(next((text[name] for name in names if text.get(name)), default))

    hidden, layers = first("hidden_size", "n_embd"), first("num_hidden_layers", "n_layer")
    heads = first("num_attention_heads", "n_head", default=1)
    experts = first("num_experts", "num_local_experts", "n_routed_experts")
    expert_size = first("moe_intermediate_size", "intermediate_size")
    return ModelShape(
        parameters=parameters,
        hidden_size=hidden,
        intermediate_size=first("intermediate_size", "n_inner", default=4 * hidden),
        num_layers=layers,
        kv_heads=first("num_key_value_heads", default=heads),
        head_dim=first("head_dim", default=hidden // heads),
        vocab_size=first("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        expert_parameters=3 * layers * experts * hidden * expert_size,
    )


def gigabytes(size: int) -> str:
    """`18.3 GB`, or `0.02 GB` where it is that little."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e9:.2g} GB"
