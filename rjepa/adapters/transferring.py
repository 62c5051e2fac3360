"""Transfer: the R-JEPA of a source student, grown to read a target's latents, and trained on with part of its chains.

How a model is grown is `rjepa.jepa.growing`; the training is that of every R-JEPA, `rjepa.jepa.stage`.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from rjepa.adapters.fitting import RIDGE_STRENGTHS, fit_ridge, r_squared
from rjepa.adapters.maps import LatentMap
from rjepa.adapters.pairs import Pairs, match_chains, pairs_of
from rjepa.home import Home
from rjepa.jepa.growing import Between, Grown, grow
from rjepa.jepa.reader import Reader
from rjepa.jepa.stage import Trained, build_checkpoint, normalizer_file, open_checkpoint
from rjepa.latents.normalizer import Normalizer, load_normalizer
from rjepa.latents.shards import latent_poolings, open_latents
from rjepa.latents.shares import draw_problems
from rjepa.progress import Progress, silent

_EVERY: Final = 5
"""One problem in so many is held out where a strength is chosen."""


def build_transferred(
    home: Home,
    llm_tag: str,
    dataset: str,
    source: str,
    share: float,
    recipe: str = "transfer",
    progress: Progress = silent,
    *,
    environment: Mapping[str, str] | None = None,
) -> Trained:
    """Grow the source's R-JEPA for the student, train it on, and diagnose what came of it.

    Args:
        share: part of the training problems that is learnt from, for the maps and for the weights.
        recipe: run of configs/rjepa/ whose optimisation is taken; all else is the source's.

    Raises:
        NotFoundError: latents or normaliser of one of the two, or the source's R-JEPA, are not made yet.
        InvalidInputError: the two read no chain in common, too few problems, a ranking head, or as `train`.
    """
    grown = grow_source(home, llm_tag, dataset, source, share)
    return build_checkpoint(home, llm_tag, dataset, recipe, progress, environment=environment, grown=grown)


def grow_source(home: Home, llm_tag: str, dataset: str, source: str, share: float) -> Grown:
    """The source's R-JEPA, grown for the student by maps that were fitted on the share (errors as
    `build_transferred`).
    """
    trained, reader = open_checkpoint(home, source, dataset)
    own = load_normalizer(normalizer_file(home, llm_tag, dataset))
    target, theirs = open_latents(home, llm_tag, dataset).split("train"), open_latents(home, source, dataset)
    matched = match_chains(target, theirs.split("train"))
    problems = draw_problems(matched.problems, share)
    pairs = pairs_of(matched.of_problems(problems))
    into = best_ridge(own, reader.normalizer, pairs.target, pairs.source, pairs)
    back = best_ridge(reader.normalizer, own, pairs.source, pairs.target, pairs)
    config = trained.config.model_copy(update={"poolings": latent_poolings(home, llm_tag, dataset), "use": None})
    model = grow(trained.cpu(), config, own.width, *_read_columns(reader, into, back))
    return Grown(source, model, frozenset(problems), share)


def best_ridge(inputs: Normalizer, outputs: Normalizer, into: np.ndarray, out: np.ndarray, pairs: Pairs) -> LatentMap:
    """The ridge map from rows `into` to rows `out` of the strength that is best on every fifth problem, fitted on
    all.
    """
    held_out = pairs.problem % _EVERY == 0
    if held_out.all() or not held_out.any():
        return fit_ridge(inputs, outputs, into, out, RIDGE_STRENGTHS[2])

    def worth(strength: float) -> float:
        fitted = fit_ridge(inputs, outputs, into[~held_out], out[~held_out], strength)
        return r_squared(fitted, into[held_out], out[held_out])

    return fit_ridge(inputs, outputs, into, out, max(RIDGE_STRENGTHS, key=worth))


def _read_columns(reader: Reader, into: LatentMap, back: LatentMap) -> tuple[Between, Between]:
    """The maps between the target's columns and those that the source's R-JEPA reads; others are as they usually
    are, 0.
    """
    if reader.columns is None:
        return Between(into.weight, into.bias), Between(back.weight, back.bias)
    there = Between(np.ascontiguousarray(into.weight[:, reader.columns]), into.bias[reader.columns])
    return there, Between(np.ascontiguousarray(back.weight[reader.columns]), back.bias)
