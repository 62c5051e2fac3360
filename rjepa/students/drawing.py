"""One token from logits and noise, and what a student thinks of a token. Where noise comes from is `noise`' matter."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


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
