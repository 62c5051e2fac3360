"""What a row's rules make of the logits that its next token is drawn from. The rules themselves are in `rules`.

Log-probabilities stay the student's own: they are taken from the logits as they were.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rjepa.students.rules import TokenRules


def add_to_logits(logits: Float[Tensor, " vocab"], rules: TokenRules, tokens: Sequence[int]) -> None:
    """Add a row's biases to its logits, in place, and take its penalties for the `tokens` of its chain so far."""
    if rules.logit_bias:
        ids, values = zip(*rules.logit_bias, strict=True)
        logits[torch.tensor(ids, device=logits.device)] += torch.tensor(values, device=logits.device)
    if tokens and (rules.presence_penalty or rules.frequency_penalty):
        seen, counts = torch.tensor(tokens, device=logits.device).unique(return_counts=True)
        logits[seen] -= rules.presence_penalty + rules.frequency_penalty * counts


def narrow(logits: Float[Tensor, "rows vocab"], rules: TokenRules, temperature: float) -> Float[Tensor, "rows vocab"]:
    """The logits of rows with equal rules and temperature, with minus infinity for tokens that cannot be drawn."""
    scaled = logits / temperature
    ordered, order = scaled.sort(dim=-1, descending=True, stable=True)
    kept = torch.ones_like(ordered, dtype=torch.bool)
    if rules.top_k:
        kept[:, rules.top_k :] = False
    if rules.top_p < 1:
        kept &= _before_share(ordered.masked_fill(~kept, -torch.inf), rules.top_p)
    if rules.min_p > 0:
        kept &= (ordered - ordered[:, :1]).exp() >= rules.min_p
    kept[:, 0] = True
    return logits.masked_fill(~torch.zeros_like(kept).scatter(1, order, kept), -torch.inf)


def _before_share(ordered: Float[Tensor, "rows vocab"], share: float) -> Bool[Tensor, "rows vocab"]:
    """The tokens before which less than this share of the probability lies: the last of them reaches it."""
    probabilities = ordered.softmax(dim=-1)
    return probabilities.cumsum(dim=-1) - probabilities < share
