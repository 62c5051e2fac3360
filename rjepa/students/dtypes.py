"""In which precision a student computes where none is given: worked out for the device it will run on, with the reason.

Whether a device multiplies bfloat16 at all belongs to `rjepa.precision`. That is not enough on a CPU: one with
avx512_bf16 and without AMX multiplies large matrices faster in bfloat16 and takes longer for all that lies between
them, so that the sum of both is measured.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rjepa.students.catalog import DType
from rjepa.students.memory import ModelShape

if TYPE_CHECKING:
    import torch

_ROWS: Final = 64
"""Chains that are decoded together in the measurement: the batch that a foreign student is registered with."""
_CONTEXT: Final = 128
"""Tokens before the measured one: those of a short prompt."""
_ROUNDS: Final = 5
"""Measured in turn, of which the fastest counts: other work on the machine only ever adds time."""
_GAIN: Final = 1.2
"""bfloat16 has to be so much faster, as it rounds to three digits."""
_USUAL: Final = ModelShape(0, 1024, 3072, 1, 8, 64, 0, False)
"""Measured where a model's shape is not known: a layer of Qwen3-0.6B."""


@dataclass(frozen=True)
class DTypeChoice:
    """A precision, and why it and no other: a sentence for people."""

    dtype: DType
    reason: str


def choose_dtype(device: str, shape: ModelShape | None = None) -> DTypeChoice:
    """The precision for a device: cpu, mps, or cuda with or without a number. On a CPU that multiplies both precisions
    one layer of the model's shape is timed in both, a second or less.
    """
    from rjepa.precision import multiplies_bf16  # loads torch, which a command line that only lists does without

    kind = device.partition(":")[0]
    if not multiplies_bf16(kind):
        return DTypeChoice("float32", f"{kind} has no instructions for bfloat16 here")
    if kind != "cpu":
        return DTypeChoice("bfloat16", f"{kind} multiplies bfloat16 natively")
    full, half = _measure(shape or _USUAL)
    chosen: DType = "bfloat16" if half * _GAIN <= full else "float32"
    reason = f"a layer takes {full * 1e3:.1f} ms in float32 and {half * 1e3:.1f} ms in bfloat16 for {_ROWS} chains here"
    return DTypeChoice(chosen, reason if chosen == "bfloat16" else f"{reason}, which rounds more")


def _measure(shape: ModelShape) -> tuple[float, float]:
    """Seconds of a layer's work for one token of each chain, in float32 and in bfloat16."""
    import torch

    layers = [_layer(shape, dtype) for dtype in (torch.float32, torch.bfloat16)]
    best = [float("inf"), float("inf")]
    with torch.inference_mode():
        for _ in range(_ROUNDS):
            for index, layer in enumerate(layers):
                started = time.perf_counter()
                layer()
                best[index] = min(best[index], time.perf_counter() - started)
    return best[0], best[1]


def _layer(shape: ModelShape, dtype: "torch.dtype") -> "Callable[[], torch.Tensor]":
    """A decoder layer's products, attention and norms on made-up numbers."""
    import torch
    from torch.nn import functional

    generator = torch.Generator().manual_seed(0)

    def drawn(*sizes: int) -> torch.Tensor:
        return (torch.randn(sizes, generator=generator) * 0.02).to(dtype)

    hidden, inner = shape.hidden_size, max(shape.intermediate_size, 1)
    heads, size = max(shape.kv_heads, 1), max(shape.head_dim, 1)
    groups = max(1, hidden // (heads * size))
    queries, keys_values = heads * size * groups, 2 * heads * size
    into, out = drawn(queries + keys_values, hidden), drawn(hidden, queries)
    gate_up, down = drawn(2 * inner, hidden), drawn(hidden, inner)
    keys, values = drawn(_ROWS, heads, size, _CONTEXT), drawn(_ROWS, heads, _CONTEXT, size)
    states = drawn(_ROWS, hidden)

    def layer() -> torch.Tensor:
        projected = functional.linear(_normed(states), into)
        query = projected[:, :queries].view(_ROWS, heads, groups, size)
        weights = torch.matmul(query, keys).softmax(dim=-1)
        mixed = states + functional.linear(torch.matmul(weights, values).reshape(_ROWS, queries), out)
        gate, up = functional.linear(_normed(mixed), gate_up).chunk(2, dim=-1)
        return mixed + functional.linear(functional.silu(gate) * up, down)

    return layer


def _normed(states: "torch.Tensor") -> "torch.Tensor":
    """Root-mean-square norm in float32, as decoders have it."""
    full = states.float()
    return (full * (full.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()).to(states.dtype)
