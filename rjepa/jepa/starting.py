"""What a run goes on from: a trained R-JEPA, and which problems it has learnt from. The release that holds it is
found in `rjepa.releases`; the loop is `trainer`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rjepa.errors import InvalidInputError
from rjepa.ewc import Anchor, make_anchor
from rjepa.jepa.batches import UNKNOWN_DOMAIN, Assembler
from rjepa.jepa.config import JepaConfig, ReplayConfig
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.jepa.replay import ReplayOrder, chains_to_look_at, choose_reservoir
from rjepa.latents.sets import LatentSet

_BATCH = 256


@dataclass(frozen=True)
class Start:
    """A trained R-JEPA that a run goes on from."""

    release: str
    """id of the release that holds it"""
    model: RJepa
    sha256: str
    """of its weights' file"""
    learnt: frozenset[str]
    """ids of the problems whose chains it has learnt from"""
    weights: Mapping[str, float] = field(default_factory=dict)
    """how often the chains of new problems are shown, by their ids; those without are shown once an epoch"""

    def config_for(self, config: JepaConfig) -> JepaConfig:
        """The run that goes on from here."""
        return config.going_on_from(self.model.config, self.release)

    def domain_names(self, latents: LatentSet) -> tuple[str, ...]:
        """The model's own domains, in their order, then those that are new to it."""
        known = self.model.domain_names
        return (*known, *sorted(set(latents.domain_names) - set(known)))

    def is_new(self, latents: LatentSet) -> Bool[np.ndarray, " chains"]:
        """Which chains answer problems that the model has not learnt from."""
        return np.array([problem not in self.learnt for problem in latents.problem_ids], dtype=bool)

    def weights_of(self, latents: LatentSet) -> Float[np.ndarray, " chains"]:
        """How often each chain is shown in an epoch, if it is new."""
        return np.array([self.weights.get(problem, 1.0) for problem in latents.problem_ids])

    def check(self, latents: LatentSet) -> None:
        """Refuse latents of another width.

        Raises:
            InvalidInputError: they are not as wide as those that the model was trained on.
        """
        if latents.width != self.model.width:
            raise InvalidInputError(
                f"release {self.release} reads latents that are {self.model.width} wide, these are {latents.width}",
                cure="train on the latents of the student that the release was made for, or train from scratch",
            )


def take_over(model: RJepa, start: RJepa) -> None:
    """Give a new model every weight of a trained one. A domain that is new to it starts as an unknown domain, so that
    before the first update every energy is the trained model's.
    """
    weights = start.state_dict()
    own = model.state_dict()
    for name, value in weights.items():
        missing = len(own[name]) - len(value) if value.ndim and own[name].shape != value.shape else 0
        if missing:
            weights[name] = torch.cat([value, value[UNKNOWN_DOMAIN].expand(missing, -1)])
    model.load_state_dict(weights)


def replay_order(
    start: Start, train: LatentSet, reader: Reader, config: JepaConfig, replay: ReplayConfig
) -> ReplayOrder:
    """New chains, and the reservoir of old ones: a function of the start, the data and the config."""
    data = Assembler(train, reader, start.model.config, start.model.domain_names)
    is_new, random = start.is_new(train), np.random.default_rng((config.seed, len(train)))
    right = data.right_chains()
    looked_at = chains_to_look_at(right[~is_new[right]], train.domains, replay.per_domain, random)
    energies = mean_energies(start.model, data, looked_at)
    reservoir = choose_reservoir(looked_at, energies, train.domains[looked_at], replay, random)
    return ReplayOrder(
        train,
        data.problems,
        config.optim.batch_size,
        config.seed,
        is_new=is_new,
        reservoir=reservoir,
        share=replay.share,
        weights=start.weights_of(train),
    )


def mean_energies(model: RJepa, data: Assembler, chains: Int[np.ndarray, " chains"]) -> Float[np.ndarray, " chains"]:
    """Mean energy of the steps of each chain."""
    means = [np.empty(0)]
    for first in range(0, len(chains), _BATCH):
        batch = data.gather(chains[first : first + _BATCH]).to(model.device)
        steps = batch.valid[:, 1:].sum(1).clamp(min=1)
        means.append((model.energies(batch).sum(1) / steps).double().cpu().numpy())
    return np.concatenate(means)


def anchor_at_start(model: RJepa, data: Assembler, order: ReplayOrder, replay: ReplayConfig) -> Anchor | None:
    """Where the weights are held, None where the config does not ask for it or nothing old is there. The loss of a
    chain is its mean energy, which is a negative log-likelihood up to scale.
    """
    if replay.ewc == 0 or not len(order.old):
        return None
    spread = np.unique(np.linspace(0, len(order.old) - 1, min(len(order.old), replay.ewc_chains)).astype(np.int64))
    return make_anchor(model, _losses(model, data, order.old[spread]))


def _losses(model: RJepa, data: Assembler, chains: Int[np.ndarray, " chains"]) -> Iterator[Tensor]:
    for chain in chains:
        batch = data.gather(np.array([chain])).to(model.device)
        yield model.chain_loss(batch)
