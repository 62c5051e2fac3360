"""Grow a trained R-JEPA to read the latents of another student, mostly wider ones: its transfer begins there.

An affine map between the two students' standardised latents is multiplied into the layers that read latents, and the
way back into those that predict them. What lies between keeps its weights: before any training every state and every
prediction of a state is what the trained model makes of mapped latents. So energies of kind `latent` are the same, and
those of kind `raw` are where the maps keep distances. The width of states does not grow: position codes depend on it,
and no weights could make up for other codes. How the maps are fitted is `rjepa.adapters`' matter.

Dimensions: width and columns of the new student's latents, read of the columns that the trained model read.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rjepa.arrays import Float32
from rjepa.errors import InvalidInputError
from rjepa.jepa.config import JepaConfig
from rjepa.jepa.encoder import Encoder
from rjepa.jepa.model import RJepa, build_model
from rjepa.latents.sets import LatentSet

_OF_COLUMNS: Final = (
    *(f"{encoder}.{layer}." for encoder in ("context", "target") for layer in ("project", "project_sentences")),
    *(f"predictor.{layer}." for layer in ("to_raw", "to_delta")),
)
"""Weights that read or predict columns of latents."""


@dataclass(frozen=True)
class Between:
    """An affine map between the standardised columns of two students: rows @ weight + bias."""

    weight: Float[Float32, "width_in width_out"]
    bias: Float[Float32, " width_out"]


@dataclass(frozen=True)
class Grown:
    """A grown R-JEPA, as what a run begins with instead of random weights."""

    source: str
    """LLM whose R-JEPA it was"""
    model: RJepa
    problems: frozenset[str]
    """ids of the training problems whose chains the run may learn from"""
    share: float
    """part of all training problems that these are"""

    def config_for(self, config: JepaConfig) -> JepaConfig:
        """The run that begins here: the grown model's shape, masks, loss and energy, the run's own optimisation."""
        return self.model.config.model_copy(update={"name": config.name, "seed": config.seed, "optim": config.optim})

    def domain_names(self, latents: LatentSet) -> tuple[str, ...]:
        """The model's own domains, in their order, then those that are new to it."""
        known = self.model.domain_names
        return (*known, *sorted(set(latents.domain_names) - set(known)))

    def chosen(self, latents: LatentSet) -> LatentSet:
        """The chains of its problems."""
        return latents.select(np.array([problem in self.problems for problem in latents.problem_ids], dtype=bool))

    def sha256(self) -> str:
        """Names the weights that the run begins with."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def grow(trained: RJepa, config: JepaConfig, width: int, into: Between, back: Between) -> RJepa:
    """The trained model, reading the new student's latents.

    Args:
        config: of the grown model: the trained one's shape, over the new student's poolings.
        width: columns of the new student's latents.
        into: from these to the columns that the trained model reads.
        back: from those to these.

    Raises:
        InvalidInputError: the trained model has a ranking head, whose weights are those of single columns; or the
            config is of another shape.
    """
    if trained.rank_head is not None:
        raise InvalidInputError(
            f"config {trained.config.name!r} has a ranking head, which weighs columns of its own student's latents",
            cure="carry it with an adapter (--strategy calibration), or train one (--strategy retrain)",
        )
    grown = build_model(config, width, trained.domain_names)
    kept = {name: value for name, value in trained.state_dict().items() if not name.startswith(_OF_COLUMNS)}
    try:
        left = grown.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        raise InvalidInputError(
            f"config {config.name!r} does not have the shape of {trained.config.name!r}",
            cure="transfer with the shape of the source's config; only its poolings may be others",
        ) from error
    assert not left.unexpected_keys  # both were built from one class
    for encoder, source in ((grown.context, trained.context), (grown.target, trained.target)):
        _grow_inputs(encoder, source, into)
    _grow_output(grown.predictor.to_raw, trained.predictor.to_raw, back, moves=True)
    _grow_output(grown.predictor.to_delta, trained.predictor.to_delta, back, moves=False)
    return grown.eval()


@torch.no_grad()
def _grow_inputs(grown: Encoder, trained: Encoder, into: Between) -> None:
    weight, bias = torch.from_numpy(into.weight), torch.from_numpy(into.bias)
    pairs = ((grown.project, trained.project), (grown.project_sentences, trained.project_sentences))
    for new, old in pairs:
        if new is not None and old is not None:
            new.weight.copy_(_product(old.weight, weight.T))
            new.bias.copy_(old.bias + _product(old.weight, bias[:, None])[:, 0])


@torch.no_grad()
def _grow_output(new: nn.Linear | None, old: nn.Linear | None, back: Between, *, moves: bool) -> None:
    """moves: whether the map's bias is part of it; a difference of two latents has none."""
    if new is None or old is None:
        return
    weight, bias = torch.from_numpy(back.weight), torch.from_numpy(back.bias)
    new.weight.copy_(_product(weight.T, old.weight))
    new.bias.copy_(_product(weight.T, old.bias[:, None])[:, 0] + (bias if moves else 0))


def _product(one: Tensor, other: Tensor) -> Tensor:
    """In float64: the sums are made once and kept for good."""
    return (one.double() @ other.double()).float()
