"""Which old chains a run shows again that goes on from a trained model, and how they are mixed with the new ones.

Replay of about half old data is the strong baseline of continual learning (Robins 1995, Rolnick et al. 2019). What
holds weights instead of showing data is `ewc`; what a run starts from is `starting`.
"""

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from rjepa.jepa.batches import BatchOrder, shuffled_batches
from rjepa.jepa.config import ReplayConfig
from rjepa.latents.sets import LatentSet

LOOKED_AT: Final = 4
"""So many times `per_domain` old chains of each domain have their energy computed, to choose a reservoir from: the
energies of all of them would cost more than the fine-tuning."""

_COPIES: Final = 4
"""Where weights differ, a new chain of weight 1 stands in the list of new chains this often, and another one this often
times its weight, rounded: weights count in steps of a quarter."""

_NEW, _OLD = 0, 1
"""Which of the two streams a key of random numbers is for."""


def chains_to_look_at(
    old: Int[np.ndarray, " old"], domains: Int[np.ndarray, " all"], per_domain: int, random: np.random.Generator
) -> Int[np.ndarray, " chosen"]:
    """At most `LOOKED_AT * per_domain` of the old chains of each domain, at random, in rising order."""
    limit = LOOKED_AT * per_domain
    chosen = [random.permutation(old[domains[old] == domain])[:limit] for domain in np.unique(domains[old])]
    return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *chosen])).astype(np.int64)


def choose_reservoir(
    chains: Int[np.ndarray, " chains"],
    energies: Float[np.ndarray, " chains"],
    domains: Int[np.ndarray, " chains"],
    config: ReplayConfig,
    random: np.random.Generator,
) -> Int[np.ndarray, " chosen"]:
    """At most `per_domain` chains of each domain, without repeats, in rising order. A chain's chance grows with its
    energy: with what the old model finds hardest it shall keep practising.

    The draw is weighted sampling without replacement by the largest of `u ** (1 / weight)` (Efraimidis, Spirakis 2006).

    Args:
        energies: mean over the steps of each chain, at least 0.
        domains: of each chain.
    """
    chosen = [np.empty(0, dtype=np.int64)]
    for domain in np.unique(domains):
        own = np.flatnonzero(domains == domain)
        mean = float(energies[own].mean())
        share = energies[own] / mean if mean > 0 else np.ones(len(own))
        weights = np.maximum(1 - config.by_energy + config.by_energy * share, 1e-6)
        keys = np.log(random.random(len(own))) / weights
        chosen.append(chains[own[np.argsort(-keys, kind="stable")[: config.per_domain]]])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


class ReplayOrder(BatchOrder):
    """Batches of new chains and of replayed old ones, in a fixed proportion. New chains come once an epoch, old ones
    from the reservoir go round at their own pace. Where there is nothing new, a batch is old chains alone.
    """

    def __init__(
        self,
        latents: LatentSet,
        problems: Int[np.ndarray, " chains"],
        batch_size: int,
        seed: int,
        *,
        is_new: Bool[np.ndarray, " chains"],
        reservoir: Int[np.ndarray, " old"],
        share: float,
        weights: Float[np.ndarray, " chains"] | None = None,
    ) -> None:
        """
        Args:
            share: of a batch that is old.
            weights: how many times as often as another new chain each is shown, above 0; None: all alike.
        """
        super().__init__(latents, problems, batch_size, seed)
        self.new = self.right[is_new[self.right]]
        self.old = reservoir.astype(np.int32)
        self.right = np.concatenate([self.new, self.old])
        self.new_size, self.old_size = batch_sizes(len(self.new), len(self.old), batch_size, share)
        self._shown, self._copies = repeat_by_weight(self.new, weights)
        self._batches: dict[int, tuple[int, np.ndarray]] = {}

    @property
    def per_epoch(self) -> int:
        """Updates in which every new chain of weight 1 is seen about once."""
        if self.new_size:
            return max(1, len(self._shown) // (self._copies * self.new_size))
        return len(self.old) // max(self.old_size, 1)

    def chains(self, update: int) -> Int[np.ndarray, " rows"]:
        """The right chains, int32, of an update (counted from 0): new ones, then old ones."""
        streams = ((_NEW, self._shown, self.new_size), (_OLD, self.old, self.old_size))
        return np.concatenate([self._next(stream, chains, size, update) for stream, chains, size in streams])

    def _next(self, stream: int, chains: np.ndarray, size: int, update: int) -> np.ndarray:
        if size == 0:
            return chains[:0]
        per_epoch = len(chains) // size
        epoch, position = divmod(update, per_epoch)
        if stream not in self._batches or self._batches[stream][0] != epoch:
            key = (self._seed, 2 * epoch + stream)
            self._batches[stream] = (epoch, shuffled_batches(chains, self._lengths, size, per_epoch, key))
        chosen: np.ndarray = self._batches[stream][1][position]
        return chosen


def repeat_by_weight(
    chains: Int[np.ndarray, " chains"], weights: Float[np.ndarray, " all"] | None
) -> tuple[Int[np.ndarray, " shown"], int]:
    """The chains, each as often as its weight says, and how often one of weight 1 is among them: once where all have
    that weight. None is left out.
    """
    if weights is None or (weights[chains] == 1).all():
        return chains, 1
    return np.repeat(chains, np.maximum(1, np.round(weights[chains] * _COPIES)).astype(int)), _COPIES


def batch_sizes(new: int, old: int, batch_size: int, share: float) -> tuple[int, int]:
    """How many new chains and how many old ones make a batch: `share` of it old, and smaller where there are too few
    new ones. All old where nothing is new.
    """
    if new == 0:
        return 0, min(old, batch_size)
    wanted = min(new, max(1, round((1 - share) * batch_size)))
    return wanted, min(old, round(wanted * share / (1 - share)))
