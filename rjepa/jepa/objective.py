"""What one update minimises: views drawn, predictions made, terms weighed. The terms themselves are in `losses`.

Dimensions: rows of a batch of right chains, wrong chains, segments, queries of InfoNCE, width of target states.
"""

from dataclasses import replace
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from rjepa.jepa import losses
from rjepa.jepa.batches import UNKNOWN_DOMAIN, Batch
from rjepa.jepa.masks import View, causal_view, draw_view, steps_of
from rjepa.jepa.model import RJepa
from rjepa.jepa.predictor import Prediction
from rjepa.precision import multiplies_bf16

EQUIVALENT: Final = 1e-3
"""Mean squared distance of standardised raw latents below which two steps are the same step, so that neither is the
other's negative: equal text after an equal context differs by float16 rounding only."""


def objective(
    model: RJepa, batch: Batch, negatives: Batch | None, owners: Int[Tensor, " wrong"], generator: torch.Generator
) -> dict[str, Float[Tensor, ""]]:
    """The weighted sum as `total` (with gradient) and every unweighted term by its name.

    Args:
        batch: right chains only; they alone are JEPA targets.
        negatives: wrong chains, used by InfoNCE (as keys) and by the ranking head. With a trunk, right ones of
            the student's own may be among them.
        owners: the row of `batch` that each wrong chain shares its problem with.
    """
    config, weights = model.config, model.config.loss
    device = model.device
    batch = _drop_domains(batch, config.optim.domain_dropout, generator)
    if config.trunk is not None:
        return _rank_alone(model, batch.to(device), None if negatives is None else negatives.to(device))
    repeated = torch.arange(len(batch.valid)).repeat_interleave(config.masks.per_sample)
    view = draw_view(batch.valid[repeated], config.masks, generator)
    picked = _queries(view, weights.queries, generator) if weights.infonce > 0 else None
    batch, view = batch.to(device), view.to(device)
    with _autocast(model):
        target = model.forward_target(batch)
        if config.masks.per_sample > 1:
            batch, target = batch.rows(repeated.to(device)), target[repeated.to(device)]
        prediction, context = model.predict(batch, view)

    read = context[view.readable]
    terms = {
        "latent": losses.masked_mean(losses.latent_error(prediction.latent, target), view.targets),
        "variance": losses.variance_term(read),
        "covariance": losses.covariance_term(read),
    }
    if prediction.raw is not None:
        terms["raw"] = losses.masked_mean(losses.raw_error(prediction.raw, batch.latents), view.targets)
    if prediction.delta is not None:
        change = batch.latents - batch.latents.roll(1, dims=1)  # no prompt is a target, so that none wraps around
        terms["delta"] = losses.masked_mean(losses.raw_error(prediction.delta, change), view.targets)
    if prediction.step_type is not None:
        terms["step_type"] = losses.step_type_term(prediction.step_type[view.targets], batch.types[view.targets])
    if negatives is not None:
        negatives = negatives.to(device)
        if picked is not None:
            owners = _owner_rows(owners, len(batch.valid), config.masks.per_sample)
            terms["infonce"] = _info_nce(model, batch, prediction, target, picked.to(device), negatives, owners)
        if weights.rank > 0:
            terms["rank"] = _rank(model, batch, prediction, view, negatives)
    total = sum(getattr(weights, name) * value for name, value in terms.items())
    return {"total": torch.as_tensor(total), **terms}


def _drop_domains(batch: Batch, share: float, generator: torch.Generator) -> Batch:
    dropped = torch.rand(len(batch.domains), generator=generator) < share
    return replace(batch, domains=batch.domains.masked_fill(dropped, UNKNOWN_DOMAIN))


def _queries(view: View, amount: int, generator: torch.Generator) -> Int[Tensor, "queries 2"]:
    """(row, segment): causal targets only, for only these are what an energy will be asked for."""
    candidates = (view.targets & view.causal[:, None]).nonzero()
    return candidates[torch.randperm(len(candidates), generator=generator)[:amount]]


def _owner_rows(owners: Int[Tensor, " wrong"], rows: int, per_sample: int) -> Int[Tensor, " {rows}"]:
    """Index of the wrong chain that belongs to each (repeated) row, -1 for none."""
    partner = torch.full((rows // per_sample,), -1)
    partner[owners] = torch.arange(len(owners))
    return partner.repeat_interleave(per_sample)


def _info_nce(
    model: RJepa,
    batch: Batch,
    prediction: Prediction,
    target: Float[Tensor, "rows segments width"],
    picked: Int[Tensor, "queries 2"],
    negatives: Batch,
    partner: Int[Tensor, " rows"],
) -> Float[Tensor, ""]:
    """The true step against: steps of other problems, other steps of its chain, the wrong step at its position."""
    if len(picked) == 0:
        return prediction.latent.sum() * 0.0
    rows, place = picked.unbind(1)
    keys = F.normalize(target, dim=-1)
    query = F.normalize(prediction.latent[rows, place], dim=-1)
    observed = batch.latents[rows, place]

    others = query @ keys[rows, place].T
    others_usable = batch.problems[rows][:, None] != batch.problems[rows]
    others_usable &= _distances(observed, observed) > EQUIVALENT

    chain = torch.einsum("qd,qsd->qs", query, keys[rows])
    chain_usable = steps_of(batch.valid)[rows] & (torch.arange(keys.shape[1], device=rows.device) != place[:, None])
    chain_usable &= (batch.latents[rows] - observed[:, None]).square().mean(-1) > EQUIVALENT

    wrong_rows = partner.to(rows.device)[rows]
    reachable = (wrong_rows >= 0) & (place < negatives.valid.shape[1])
    at = (wrong_rows.clamp(min=0), place.clamp(max=negatives.valid.shape[1] - 1))
    with _autocast(model):
        wrong_target = model.forward_target(negatives)
    hard = (query * F.normalize(wrong_target[at], dim=-1)).sum(-1)
    hard_usable = reachable & negatives.valid[at] & (place >= negatives.first_error[at[0]])
    hard_usable &= (negatives.latents[at] - observed).square().mean(-1) > EQUIVALENT

    scores = torch.cat([hard[:, None], chain, others], dim=1)
    usable = torch.cat([hard_usable[:, None], chain_usable, others_usable], dim=1)
    positive = (query * keys[rows, place]).sum(-1)
    return losses.info_nce(positive, scores, usable, model.config.loss.temperature)


def _autocast(model: RJepa) -> torch.autocast:
    kind = model.device.type
    return torch.autocast(kind, torch.bfloat16, enabled=model.config.optim.bf16 and multiplies_bf16(kind))


def _distances(
    left: Float[Tensor, "left columns"], right: Float[Tensor, "right columns"]
) -> Float[Tensor, "left right"]:
    """Mean squared distances of the rows of two matrices."""
    inner = left @ right.T
    return (left.square().sum(1)[:, None] + right.square().sum(1) - 2 * inner) / left.shape[1]


def _rank_alone(model: RJepa, batch: Batch, negatives: Batch | None) -> dict[str, Float[Tensor, ""]]:
    """Where the trunk is not trained, its own terms are not worth their forward passes."""
    view = causal_view(batch.valid)
    with _autocast(model), torch.no_grad():
        prediction, _ = model.predict(batch, view)
    rank = _rank(model, batch, prediction, view, negatives)
    return {"total": model.config.loss.rank * rank, "rank": rank}


def _rank(model: RJepa, batch: Batch, prediction: Prediction, view: View, negatives: Batch | None) -> Float[Tensor, ""]:
    """Steps of right chains, and the right prefix of wrong ones, against first wrong steps. What follows a wrong step
    may well follow from it, and is no example of either.
    """
    into_trunk = model.config.loss.rank_into_trunk
    with _autocast(model):
        right_logits = model.wrong_logits(batch, prediction if into_trunk else prediction.detached())
    right = right_logits[view.targets & view.causal[:, None]]
    is_right = torch.zeros_like(right, dtype=torch.bool)
    if negatives is None:
        return losses.rank_term(right, is_right)
    with _autocast(model):
        with torch.set_grad_enabled(into_trunk):
            prediction, _ = model.predict(negatives, causal_view(negatives.valid))
        logits = model.wrong_logits(negatives, prediction)
    place, first = torch.arange(negatives.valid.shape[1], device=model.device), negatives.first_error[:, None]
    judged = steps_of(negatives.valid) & ((first < 0) | (place <= first))
    labels = torch.cat([is_right, (place == first)[judged]])
    return losses.rank_term(torch.cat([right, logits[judged]]), labels)
