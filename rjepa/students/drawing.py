"""One token from logits and noise, and what a student thinks of a token. Where noise comes from belongs to `noise`."""

import math
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_CACHED: Final = 1 << 19
"""Logits that a CPU works on at a time, 2 MB: they are read some ten times, and all rows at once would come from memory
each time. Drawing for 200 rows over 151 936 tokens took 137 ms so, and 454 ms in one piece.
"""


def draw_tokens(
    logits: Float[Tensor, "rows vocab"],
    noise: Float[Tensor, " rows"],
    greedy: Bool[Tensor, " rows"],
    temperature: "float | Float[Tensor, 'rows 1']",
    biased: "Float[Tensor, 'rows vocab'] | None" = None,
) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """Draw one token a row by inverting the cumulative distribution at the row's noise in [0, 1); the most probable one
    where `greedy`. `biased` are the logits to draw from where those are not the student's own.

    Returns the tokens and their `score_tokens` by the student's own logits.
    """
    several = -(-len(logits) * logits.shape[-1] // _CACHED) if logits.device.type == "cpu" else 1
    if several <= 1:
        return _draw(logits, noise, greedy, temperature, biased)
    size = max(1, len(logits) // several)
    parts = []
    for first in range(0, len(logits), size):
        rows = slice(first, first + size)
        own = temperature[rows] if isinstance(temperature, Tensor) else temperature
        parts.append(_draw(logits[rows], noise[rows], greedy[rows], own, None if biased is None else biased[rows]))
    tokens, logprobs, certainty = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return tokens, logprobs, certainty


def _draw(
    logits: Float[Tensor, "rows vocab"],
    noise: Float[Tensor, " rows"],
    greedy: Bool[Tensor, " rows"],
    temperature: "float | Float[Tensor, 'rows 1']",
    biased: "Float[Tensor, 'rows vocab'] | None",
) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    logits = logits.float()
    wanted = logits if biased is None else biased
    cumulative = (wanted / temperature).softmax(dim=-1).cumsum(dim=-1)
    drawn = torch.searchsorted(cumulative, (noise * cumulative[:, -1])[:, None], right=True).squeeze(1)
    tokens = torch.where(greedy, wanted.argmax(dim=-1), drawn.clamp_(max=logits.shape[-1] - 1))
    return tokens, *score_tokens(logits, tokens)


def score_tokens(
    logits: Float[Tensor, "rows vocab"], tokens: Int[Tensor, " rows"]
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """The tokens' log-probabilities at temperature 1, and KL(uniform || model) in nats, both float32."""
    normaliser = logits.logsumexp(dim=-1)
    logprobs = logits.gather(1, tokens[:, None]).squeeze(1) - normaliser
    return logprobs, normaliser - logits.mean(dim=-1) - math.log(logits.shape[-1])
