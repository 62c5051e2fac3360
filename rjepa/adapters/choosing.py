"""Which fit carries an R-JEPA best: every one is tried on some problems of the share and judged on the others.

Judged by what an adapter is for: how well the energies of mapped chains agree with those that the R-JEPA gives to the
source's own latents of the same chains. No label is looked at, and no candidate of the target. The fit that won is then
fitted again on the whole share.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from rjepa.adapters.coverage import Reach
from rjepa.adapters.fitting import (
    RIDGE_STRENGTHS,
    fit_procrustes,
    fit_reduced_rank,
    fit_ridge,
    fit_standardised,
    r_squared,
)
from rjepa.adapters.maps import LatentMap, MappedLatents
from rjepa.adapters.network import NetworkSettings, fit_network
from rjepa.adapters.pairs import Matched, Pairs, pairs_of
from rjepa.adapters.refining import RefineSettings, can_refine, refine
from rjepa.arrays import Float32, Float64
from rjepa.errors import InvalidInputError
from rjepa.jepa.batches import Assembler
from rjepa.jepa.config import ENERGY_FLOOR
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.latents.normalizer import Normalizer, normalizer_of
from rjepa.latents.sets import LatentSet
from rjepa.progress import Progress, silent

Method = Literal["standardise", "procrustes", "ridge", "reduced_rank", "mlp", "refined"]
METHODS: Final[tuple[Method, ...]] = ("standardise", "procrustes", "ridge", "reduced_rank", "mlp", "refined")
"""In the order of their cost."""

_HELD_OUT: Final = 0.2
"""Part of the share's problems that fits are judged on."""

_RANKS: Final = (0.125, 0.25, 0.5)
"""Of a reduced-rank map, as parts of the smaller width."""

_STRENGTH: Final = 1e-2
"""Of ridge regression where no strength was tried."""

_BATCH: Final = 128


@dataclass(frozen=True)
class Recipe:
    """One way to fit a map from pairs."""

    method: Method
    strength: float = 0.0
    """of the ridge regression that it is, or starts from"""
    rank: int = 0
    """of a map of reduced rank"""

    @property
    def detail(self) -> str:
        """In words, after the method's name."""
        found = f"strength {self.strength:g}" if self.strength else ""
        return f"{found}, rank {self.rank}" if self.rank else found


@dataclass(frozen=True)
class Tried:
    """One fit, on held-out problems."""

    recipe: Recipe
    r2: float
    """between standardised latents"""
    agreement: float
    """correlation of the log energies of steps, mapped and of the source itself"""
    seconds: float
    """processor time of the fit alone; refining begins with the network that was tried before"""


@dataclass(frozen=True)
class Choice:
    """The maps that won, fitted on the whole share, and how all fits did before."""

    into: LatentMap
    back: LatentMap
    best: Tried
    r2_back: float
    """of `back`, on held-out problems"""
    reached: float
    """part of the held-out problems' target latents that lie where pairs lie"""
    tried: tuple[Tried, ...]


@dataclass(frozen=True)
class Fitter:
    """Fits maps by recipe.

    Attributes:
        model: the source's R-JEPA, on the CPU; not moved.
        normalizer: of the source.
        network: how networks are trained.
        refining: how they are refined.
        seed: of all that is drawn.
    """

    model: RJepa
    normalizer: Normalizer
    network: NetworkSettings = NetworkSettings()
    refining: RefineSettings = RefineSettings()
    seed: int = 0

    def fit(self, recipe: Recipe, matched: Matched, pairs: Pairs, start: LatentMap | None = None) -> LatentMap:
        """The map of a recipe, from matched chains and their pairs.

        Args:
            start: the map that this recipe starts from, where it was fitted already on the same chains.
        """
        outputs, into, out = self.normalizer, pairs.target, pairs.source
        inputs = normalizer_of(into) if start is None else start.inputs
        match recipe.method:
            case "standardise":
                return fit_standardised(inputs, outputs)
            case "procrustes":
                return fit_procrustes(inputs, outputs, into, out)
            case "ridge":
                return fit_ridge(inputs, outputs, into, out, recipe.strength)
            case "reduced_rank":
                return fit_reduced_rank(inputs, outputs, into, out, recipe.strength, recipe.rank)
            case "mlp":
                start = start or self.fit(replace(recipe, method="ridge"), matched, pairs)
                return fit_network(start, into, out, self.network, self.seed)
            case "refined":
                start = start or self.fit(replace(recipe, method="mlp"), matched, pairs)
                return refine(start, matched, self.model, self.refining, self.seed)


def choose_maps(
    matched: Matched, fitter: Fitter, methods: Collection[Method] = METHODS, progress: Progress = silent
) -> Choice:
    """Try every fit, and fit the best one again on all of the share.

    Args:
        matched: the share: chains of at least two problems.
        methods: those that are tried. Those that cannot be (columns one by one between widths; refining through a model
            that predicts no raw latents) are left out.

    Raises:
        InvalidInputError: the share's latents hold values that are not finite, or no method is left.
        ValueError: fewer than two problems.
    """
    problems = matched.problems
    if len(problems) < 2:
        raise ValueError(f"expected two problems, got {len(problems)}")
    count = max(1, round(len(problems) * _HELD_OUT))
    # Of the end, so that the share's first problems, which a smaller share has too, are fitted on there and here.
    kept, held_out = matched.of_problems(problems[:-count]), matched.of_problems(problems[-count:])
    trial = _Trial(fitter, kept, held_out)
    steps = len(methods) + 1
    for number, method in enumerate(each for each in METHODS if each in methods):
        progress(number, steps, f"fitting: {method}")
        trial.run(method)
    if not trial.tried:
        raise InvalidInputError(
            f"none of the fits {', '.join(methods)} can be made between these two students",
            cure="choose others: ridge and mlp fit any two",
        )
    best = trial.best
    progress(steps - 1, steps, f"fitting: {best.recipe.method} on the whole share")
    pairs = pairs_of(matched)
    back, r2_back = _fit_back(trial, pairs)
    reach = Reach.of(normalizer_of(trial.pairs.target), trial.pairs.target)
    choice = Choice(
        into=fitter.fit(best.recipe, matched, pairs),
        back=back,
        best=best,
        r2_back=r2_back,
        reached=reach.share(trial.held_out_pairs.target),
        tried=tuple(trial.tried),
    )
    progress(steps, steps, "")
    return choice


class _Trial:
    """Fits on kept problems, judged on held-out ones."""

    def __init__(self, fitter: Fitter, kept: Matched, held_out: Matched) -> None:
        self.fitter, self.kept = fitter, kept
        self.pairs, self.held_out_pairs = pairs_of(kept), pairs_of(held_out)
        self.tried: list[Tried] = []
        self._maps: dict[Method, tuple[Tried, LatentMap]] = {}
        self._target = held_out.target
        reader = Reader.of(fitter.model.config, fitter.normalizer)
        self._wanted = log_energies(fitter.model, reader, held_out.source)

    @property
    def best(self) -> Tried:
        """The fit whose energies agree best."""
        return max(self.tried, key=lambda each: each.agreement)

    def run(self, method: Method) -> None:
        """Try a method, with each of its strengths or ranks."""
        ridge = self._maps.get("ridge")
        strength = _STRENGTH if ridge is None else ridge[0].recipe.strength
        narrow = min(self.pairs.target.shape[1], self.pairs.source.shape[1])
        match method:
            case "standardise" if self.pairs.target.shape[1] != self.pairs.source.shape[1]:
                return
            case "refined" if not can_refine(self.fitter.model):
                return
            case "standardise" | "procrustes":
                self._try(Recipe(method))
            case "ridge":
                for each in RIDGE_STRENGTHS:
                    self._try(Recipe(method, each))
            case "reduced_rank":
                for part in _RANKS:
                    self._try(Recipe(method, strength, max(1, round(part * narrow))))
            case "mlp":
                self._try(Recipe(method, strength), None if ridge is None else ridge[1])
            case "refined":
                before = self._maps.get("mlp")
                self._try(Recipe(method, strength), None if before is None else before[1])

    def _try(self, recipe: Recipe, start: LatentMap | None = None) -> None:
        started = time.process_time()
        fitted = self.fitter.fit(recipe, self.kept, self.pairs, start)
        seconds = time.process_time() - started
        r2 = r_squared(fitted, self.held_out_pairs.target, self.held_out_pairs.source)
        reader = Reader.of(self.fitter.model.config, self.fitter.normalizer, Front(fitted, self._poolings))
        agreement = correlation(log_energies(self.fitter.model, reader, self._target), self._wanted)
        found = Tried(recipe, r2, agreement, seconds)
        self.tried.append(found)
        known = self._maps.get(recipe.method)
        if known is None or found.agreement > known[0].agreement:
            self._maps[recipe.method] = found, fitted

    @property
    def _poolings(self) -> tuple[str, ...]:
        # No map is restored from here: that the columns are one block is enough.
        return ("target",)


@dataclass(frozen=True)
class Front(MappedLatents):
    """A map in front of a reader, before an adapter is made of it: there is no way back yet."""

    into: LatentMap
    poolings: tuple[str, ...]

    def restore(self, latents: npt.NDArray[np.floating]) -> Float32:
        """There is none.

        Raises:
            ValueError: always.
        """
        raise ValueError("a map that is only tried has no way back")


def log_energies(model: RJepa, reader: Reader, latents: LatentSet) -> Float64:
    """Log energies of all steps of all chains, end to end: energies of wrong steps are many times those of right ones,
    and a correlation of energies themselves would be one of a few steps.
    """
    data = Assembler(latents, reader, model.config, model.domain_names)
    found = [np.empty(0)]
    for first in range(0, len(latents), _BATCH):
        batch = data.gather(np.arange(first, min(first + _BATCH, len(latents)))).to(model.device)
        energies = model.energies(batch)[:, 1:][batch.valid[:, 1:]]
        found.append((energies.double() + ENERGY_FLOOR).log().cpu().numpy())
    return np.concatenate(found)


def correlation(one: Float64, other: Float64) -> float:
    """Pearson's; 0 where one of the two is constant."""
    if len(one) < 2 or one.std() < 1e-12 or other.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _fit_back(trial: _Trial, pairs: Pairs) -> tuple[LatentMap, float]:
    """The way back, by the ridge regression that is best on held-out problems, and its R2 there."""
    kept, held_out = trial.pairs, trial.held_out_pairs
    inputs = normalizer_of(kept.target)

    def r2(strength: float) -> float:
        fitted = fit_ridge(trial.fitter.normalizer, inputs, kept.source, kept.target, strength)
        return r_squared(fitted, held_out.source, held_out.target)

    found = {strength: r2(strength) for strength in RIDGE_STRENGTHS}
    best = max(found, key=lambda strength: found[strength])
    whole = normalizer_of(pairs.target)
    return fit_ridge(trial.fitter.normalizer, whole, pairs.source, pairs.target, best), found[best]
