"""One decoding step of a plain-softmax architecture without transformers' modules: few calls, each on all rows.

A token's forward through a small model is some twenty short operations a layer, and the Python between them takes
longer than they do. Here what reads the same input is one product (queries, keys and values; gate and up), rotary
tables are made once and hold the scales of queries and the weights of their norms, and nothing is called through a
module; `rjepa.students.native` goes further and compiles a layer, with which it reads short prompts, too. All other
prompts are read by transformers' own forward, which both are tested against; every architecture that is not known here
to the last operation takes it for each token too.
How much faster this is: docs/decoding-speed.md.

Legend: rows R, heads N, key heads M, hidden H, head size D, layers L, places S, columns C; prompts P, prompt tokens T.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from rjepa.arrays import Bools, Float32, Int64
from rjepa.onednn import LEAST_WORK, OneDnnLinear, packed_product
from rjepa.students.guides import GuideArrays
from rjepa.students.low_rank import base_of, is_plain, leaves, low_rank_of

_KNOWN: Final = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Architectures whose layers are exactly what stands here."""

_STATIC_ROPE: Final = frozenset({"default", "linear", "llama3", "yarn"})
"""Rotary embeddings that depend on nothing but the position."""

_POSITIONS: Final = 1024
"""Positions that a rotary table gains at least when it is too short."""

_FLOATS: Final = (torch.float32, torch.bfloat16)

_MOST_COPIED: Final = 256 << 20
"""Bytes of a model's weights, above which no second copy is kept in the order that compiled layers want: such a model's
time goes to its products, whoever calls them."""


@runtime_checkable
class LayerCache(Protocol):
    """Keys and values of one layer: of prompts, [P, M, D, T] and [P, M, T, D], and the rows' own, [R, M, D, slots] and
    [R, M, slots, D], of which `used` are.
    """

    prefix_keys: Tensor
    prefix_values: Tensor
    own_keys: Tensor
    own_values: Tensor
    used: int

    def arrays(self) -> tuple[Float32, Float32, Float32, Float32]:
        """The four tensors as NumPy arrays of the same memory."""


@runtime_checkable
class Caches(Protocol):
    """The caches of the rows that are fed, and where a step finds each row's tokens in them.

    `prompt_of`, `free`: as in `rjepa.students.decoding.SharedPrefixRows`. `starts`, `ends`: where each prompt's tokens
    begin and end among its places. `positions`: of the new tokens, all below `longest`. Layers have room for these.
    """

    prompt_of: Int64
    starts: Int64
    ends: Int64
    free: Int64

    @property
    def layers(self) -> Sequence[LayerCache]: ...

    @property
    def positions(self) -> Int[Tensor, " rows"]: ...

    @property
    def longest(self) -> int: ...

    def attend(self, number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of a layer's new tokens over the caches, which they are added to: query [R, M, N / M, D], key and
        value [R, M, D]; gives [R, N * D].
        """


@runtime_checkable
class Decoder(Protocol):
    """Takes the place of a model's forward for single tokens."""

    def step(
        self, tokens: Int[Tensor, " rows"], caches: Caches, depth: int, see: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "rows vocab"]:
        """The logits after one more token a row.

        Args:
            depth: how many layers lie below the states [R, H] that `see` gets; the step goes on with what it returns.
        """


@dataclass(frozen=True)
class Drawing:
    """What drawing wants to know of R rows, and the tables, a place for each row of a session, that take what it finds.

    Attributes:
        places: of the rows in the tables.
        columns: of each row's next token, in the tables. They move on with what is fed.
        moves: whether a row's column moves on with each token; the others' tokens are not wanted.
        watched: whether a row's token may end something.
        greedy, temperature: as `rjepa.students.drawing.draw_tokens`.
        ends: by token, whether it may end something.
        guides: of rows that are guided; None where none is.
        noise, ids, scores, states: float32 [S, C], int64 [S, C], float32 [2, S, C], float32 [C, S, H or 0], whose last
            column takes what is not wanted.
    """

    places: Int64
    columns: Int64
    moves: Bools
    watched: Bools
    greedy: Bools
    temperature: Float32
    ends: Bools
    noise: Float32
    ids: Int64
    scores: Float32
    states: Float32
    guides: GuideArrays | None = None


@runtime_checkable
class DrawingDecoder(Decoder, Protocol):
    """A decoder that draws, too, and so runs through several tokens at once."""

    def draws(self, rows: int) -> bool:
        """Whether that is the faster way for so many rows; else each token is a step."""

    def draw(
        self, most: int, least: int, logits: Float[Tensor, "rows vocab"], drawing: Drawing, caches: Caches, depth: int
    ) -> int:
        """As `rjepa.students.decoding.CachedRows.draw`; states are noted after `depth` layers."""


@runtime_checkable
class ReadingDecoder(Decoder, Protocol):
    """A decoder that reads prompts, too."""

    def reads(self, tokens: int) -> bool:
        """Whether it is the faster way to read prompts of so many tokens together."""

    def read(
        self,
        input_ids: Int[Tensor, "prompts tokens"],
        mask: Bool[Tensor, "prompts tokens"],
        kept: int,
        depth: int,
        see: Callable[[Tensor], None],
    ) -> tuple[list[tuple[Tensor, Tensor]], Float[Tensor, "prompts kept vocab"]]:
        """Of left-padded prompts: keys [P, M, D, T] and values [P, M, T, D] of each layer, finite where nothing is, and
        the logits of the last `kept` places.

        Args:
            depth: how many layers lie below the states [P, T, H] that `see` gets.
        """


class Rotary:
    """A model's rotary tables, float32 [positions, D], as far as they were needed so far. The first half of `sin` is
    negative: the other half of a vector comes to stand there with that sign.
    """

    def __init__(self, base: Any, size: int) -> None:
        self._base, self._size = base, size
        self.cos = self.sin = torch.zeros(0, size)

    def reach(self, longest: int) -> None:
        """Lengthen the tables to at least `longest` positions."""
        have = len(self.cos)
        if longest <= have:
            return
        weight: Tensor = self._base.norm.weight
        wanted = torch.arange(max(longest, have + _POSITIONS), device=weight.device)
        cos, sin = self._base.rotary_emb(weight.float(), wanted[None])
        sign = torch.ones_like(sin)
        sign[..., : self._size // 2] = -1
        self.cos, self.sin = cos[0].float().contiguous(), (sin * sign)[0].float().contiguous()


class Product:
    """The product of a linear layer, or of several that read the same states, side by side, with what a LoRA adds. The
    layers' own weights become views of the joined one, so that nothing is held twice.
    """

    def __init__(self, *layers: nn.Module, beside: "Product | None" = None) -> None:
        """beside: the product of the same weights without the LoRA, or with another one; they are shared."""
        bases = [base_of(layer) for layer in layers]
        self._onednn = all(isinstance(one, OneDnnLinear) and one.weight.device.type == "cpu" for one in bases)
        if beside is not None:
            self._layer: nn.Linear = beside._layer
        else:
            self._layer = bases[0] if len(bases) == 1 else _joined(bases)
        self._low_rank = low_rank_of(*layers)

    def __call__(self, states: Tensor) -> Tensor:
        weight = self._layer.weight
        if self._onednn and states.shape[0] * weight.numel() >= LEAST_WORK:
            found = packed_product(self._layer, states)  # type: ignore[arg-type]
        else:
            found = F.linear(states, weight, self._layer.bias)
        return found if self._low_rank is None else self._low_rank.add_to(found, states)


@dataclass(frozen=True)
class _Layer:
    attention_norm: Tensor
    inward: Product
    outward: Product
    mlp_norm: Tensor
    gate_up: Product
    down: Product


class FusedDecoder:
    """A `Decoder` of torch's own operations, for any device and precision."""

    def __init__(self, model: PreTrainedModel, beside: "FusedDecoder | None" = None) -> None:
        """model: one whose layers are known here, which `make_decoder` checks. beside: as there."""
        config, base = model.config, model.model
        attention = base.layers[0].self_attn
        self._norms_heads = norms_heads(attention)
        self._size = int(attention.head_dim)
        self._heads, self._groups = int(config.num_attention_heads), int(attention.num_key_value_groups)
        self._key_heads = self._heads // self._groups
        self._eps = float(base.norm.variance_epsilon)
        self._embedding: Tensor = base.embed_tokens.weight
        self._norm: Tensor = base.norm.weight
        self._head = Product(model.lm_head)
        shared: Sequence[_Layer | None] = [None] * len(base.layers) if beside is None else beside._layers
        self._layers: list[_Layer] = [_layer(layer, its) for layer, its in zip(base.layers, shared, strict=True)]
        self._scales = torch.stack([scales_of(layer.self_attn, self._heads, self._key_heads) for layer in base.layers])
        self._rotary = Rotary(base, self._size)

    def step(
        self, tokens: Int[Tensor, " rows"], caches: Caches, depth: int, see: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "rows vocab"]:
        """As `Decoder.step`."""
        self._rotary.reach(caches.longest)
        dtype, index = self._embedding.dtype, caches.positions
        cos = self._rotary.cos[index, None] * self._scales[:, None]  # [L, R, N + M, D]
        sin = self._rotary.sin[index, None] * self._scales.roll(self._size // 2, dims=-1)[:, None]
        states = self._embedding[tokens]
        rotating = self._heads + self._key_heads
        for number, layer in enumerate(self._layers):
            normed = self._normed(states, layer.attention_norm)
            both = layer.inward(normed).view(len(tokens), -1, self._size)
            rotated = self._rotated(both[:, :rotating], cos[number], sin[number]).to(dtype)
            query = rotated[:, : self._heads].unflatten(1, (self._key_heads, self._groups))
            found = caches.attend(number, query, rotated[:, self._heads :], both[:, rotating:])
            states = states + layer.outward(found)
            gate, up = layer.gate_up(self._normed(states, layer.mlp_norm)).chunk(2, dim=-1)
            states = states + layer.down(F.silu(gate) * up)
            if number + 1 == depth < len(self._layers):
                states = see(states)
        states = self._normed(states, self._norm)
        if depth == len(self._layers):
            states = see(states)
        return self._head(states)

    def _normed(self, states: Tensor, weight: Tensor) -> Tensor:
        full = states.float()
        scale = torch.rsqrt((full * full).mean(dim=-1, keepdim=True) + self._eps)
        return weight * (full * scale).to(weight.dtype)

    def _rotated(self, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Queries and keys [R, N + M, D], normed where the architecture does, at their positions, in float32."""
        states = states.float()
        if self._norms_heads:
            states = states * torch.rsqrt((states * states).mean(dim=-1, keepdim=True) + self._eps)
        return torch.addcmul(states * cos, states.roll(self._size // 2, dims=-1), sin)


def make_decoder(model: PreTrainedModel, beside: Decoder | None = None) -> Decoder | None:
    """What is fastest for a model; None where transformers' own forward is all there is.

    Args:
        beside: the decoder of a model that has the same tensors, without this one's LoRA or with another; what it
            holds in an order of its own is shared.
    """
    if not _can_fuse(model):
        return None
    weights = list(model.parameters())
    plain = all(one.dtype == torch.float32 and one.device.type == "cpu" for one in weights)
    if plain and sum(one.nbytes for one in weights) <= _MOST_COPIED:
        try:
            from rjepa.students.native_passes import NativePasses
        except ImportError:  # there is no numba for every Python yet
            pass
        else:
            return NativePasses(model, beside if isinstance(beside, NativePasses) else None)
    return FusedDecoder(model, beside if isinstance(beside, FusedDecoder) else None)


def norms_heads(attention: Any) -> bool:
    """Whether a layer's queries and keys are normed, as Qwen3's are."""
    return hasattr(attention, "q_norm")


def _can_fuse(model: PreTrainedModel) -> bool:
    """Whether every operation of a model's layers is known here, and its weights are plain."""
    config: Any = model.config
    if getattr(config, "model_type", None) not in _KNOWN or getattr(config, "hidden_act", None) != "silu":
        return False
    rope = getattr(config, "rope_parameters", None) or {}
    base: Any = getattr(model, "model", None)
    head = getattr(model, "lm_head", None)
    if rope.get("rope_type", "default") not in _STATIC_ROPE or base is None or not isinstance(head, nn.Linear):
        return False
    parts = list(leaves(base.layers))
    plain = all(type(base_of(one)) in (nn.Linear, OneDnnLinear) or _is_known_part(one) for one in parts)
    plain = plain and all(is_plain(one) for one in parts)
    return plain and all(one.dtype in _FLOATS and one.device == base.norm.weight.device for one in model.parameters())


def _is_known_part(module: nn.Module) -> bool:
    return type(module).__name__.endswith("RMSNorm") or type(module).__name__ in ("SiLU", "SiLUActivation")


def _layer(layer: Any, beside: _Layer | None) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    inward, gate_up = (None, None) if beside is None else (beside.inward, beside.gate_up)
    return _Layer(
        attention_norm=layer.input_layernorm.weight,
        inward=Product(attention.q_proj, attention.k_proj, attention.v_proj, beside=inward),
        outward=Product(attention.o_proj),
        mlp_norm=layer.post_attention_layernorm.weight,
        gate_up=Product(mlp.gate_proj, mlp.up_proj, beside=gate_up),
        down=Product(mlp.down_proj),
    )


def scales_of(attention: Any, heads: int, key_heads: int) -> Tensor:
    """float32 [N + M, D]: what queries and keys are multiplied with beside their rotation."""
    normed = norms_heads(attention)
    one = torch.ones(int(attention.head_dim), device=base_of(attention.q_proj).weight.device)
    query = (attention.q_norm.weight.float() if normed else one) * float(attention.scaling)
    key = attention.k_norm.weight.float() if normed else one
    return torch.cat([query.expand(heads, -1), key.expand(key_heads, -1)])


def _joined(layers: Sequence[nn.Linear]) -> nn.Linear:
    """One layer whose outputs are theirs side by side; their weights become views of its weight."""
    first = layers[0]
    with torch.device("meta"):
        joined = type(first)(first.in_features, sum(layer.out_features for layer in layers), first.bias is not None)
    if isinstance(first, OneDnnLinear) and isinstance(joined, OneDnnLinear):
        joined.packed = None if first.packed is None else type(first.packed)()
        joined.least_work = first.least_work
    for name in ("weight", "bias") if first.bias is not None else ("weight",):
        whole = torch.cat([getattr(layer, name).detach() for layer in layers])
        setattr(joined, name, nn.Parameter(whole, requires_grad=False))
        place = 0
        for layer in layers:
            part = whole[place : place + layer.out_features]
            getattr(layer, name).data = part
            place += layer.out_features
    return joined
