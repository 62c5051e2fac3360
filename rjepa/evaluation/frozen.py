"""The frozen candidates of a student and a dataset with the scores of every baseline: read once, shared by all that is
judged on them.

Fits see train and validation here; what is made of the scores on test lives in `rjepa.evaluation.evaluating`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from rjepa.arrays import Float64
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.rivals import Labelled, as_extra, score_label_free, score_paths, score_supervised
from rjepa.home import Home
from rjepa.inference.aggregate import chain_features
from rjepa.inference.scoring import segment_energies
from rjepa.jepa.config import JepaConfig
from rjepa.jepa.model import RJepa, build_model
from rjepa.jepa.reader import Reader
from rjepa.latents.normalizer import Normalizer
from rjepa.latents.rollouts import Rollouts, find_train_rollouts, open_rollouts
from rjepa.latents.sets import LatentSet
from rjepa.latents.shards import extent_made, open_latents
from rjepa.progress import Progress, silent
from rjepa.schemas import Split

REFERENCE: Final = 2000
"""Right training chains read for the label-free baselines, evenly spread: more move their scores little."""

_LEARNT: Final = 2500
"""Train problems with candidates that supervised baselines learn from, at most: minutes beyond that."""

_UNFITTED: Final[tuple[Split, ...]] = ("validation", "test")


@dataclass(frozen=True)
class Frozen:
    """Rollouts by split, and further scores `[problems, K]` by split and baseline."""

    rollouts: Mapping[Split, Rollouts]
    extra: Mapping[Split, Mapping[str, Float64]] = field(default_factory=dict)

    def pool(
        self, split: Split, world_model: tuple[RJepa, Reader] | None, progress: Progress = silent
    ) -> CandidatePool:
        """The candidates of one split under a world model; without energies for None.

        Raises:
            InvalidInputError: there are no rollouts of this split.
        """
        if split not in self.rollouts:
            raise InvalidInputError(
                f"there are no {split} problems with rollouts (found {', '.join(self.rollouts) or 'none'})",
                cure="use a dataset that has them",
            )
        rollouts = self.rollouts[split]
        if world_model is None:
            energies = [np.zeros(0)] * len(rollouts.latents)
        else:
            energies = energies_of(world_model, rollouts.latents, progress)
        pool = CandidatePool.from_rollouts(rollouts, energies)
        return pool.with_extra(self.extra.get(split, {}))


def open_frozen(home: Home, llm_tag: str, dataset: str) -> Frozen:
    """Every split that has rollouts.

    Raises:
        NotFoundError: there are no rollouts.
        CorruptError: a shard's bytes do not match its hash.
    """
    rollouts = open_rollouts(home, llm_tag, dataset)
    splits: tuple[Split, ...] = ("train", "validation", "test")
    found = {split: rollouts.split(split) for split in splits}
    return Frozen({split: part for split, part in found.items() if part.problems})


def train_candidates(frozen: Frozen, home: Home, llm_tag: str, dataset: str) -> Rollouts | None:
    """Candidates of training problems, which labels may be learnt from: frozen with the others, or in a folder of their
    own; None where the student answered none.
    """
    return frozen.rollouts.get("train") or find_train_rollouts(home, llm_tag, dataset)


def energies_of(world_model: tuple[RJepa, Reader], latents: LatentSet, progress: Progress = silent) -> list[np.ndarray]:
    """Energies as they are served: without the domain, as a chat names none."""
    model, reader = world_model
    return segment_energies(model, reader, latents.without_domains(), progress=progress)


def with_rivals(
    frozen: Frozen, home: Home, llm_tag: str, dataset: str, reader: Reader, untrained: tuple[JepaConfig, str]
) -> Frozen:
    """Add the scores of every baseline that reads latents or text, on validation and test.

    Args:
        reader: R-JEPA's own. Baselines read the student's latents as they are, whatever it was trained on.
        untrained: a config, whose initial weights are scored, and the energy feature that its trained model ranks by.

    Raises:
        InvalidInputError: there are no validation or no test rollouts, or no right training chain.
    """
    if missing := [split for split in _UNFITTED if split not in frozen.rollouts]:
        raise InvalidInputError(
            f"baselines are fitted on validation and judged on test; there are no rollouts of {', '.join(missing)}",
            cure="use a dataset that has them",
        )
    parts = [frozen.rollouts[split] for split in _UNFITTED]
    normalizer = reader.own
    train = train_candidates(frozen, home, llm_tag, dataset)
    seen = [_labelled(part, normalizer) for part in parts]
    scores: dict[str, list[Float64]] = {}
    if (right := _right_chains(home, llm_tag, dataset)) is not None:
        scores |= score_label_free(right, [part.steps for part in seen], normalizer)
    paths = [score_paths(part.latents, normalizer) for part in parts]
    scores |= {key: [path[key] for path in paths] for key in paths[0]}
    scores["untrained"] = [_untrained(part, reader, *untrained) for part in parts]
    scores |= score_supervised(None if train is None else _labelled(train, normalizer, _LEARNT), *seen)
    extra: dict[Split, Mapping[str, Float64]] = {
        split: as_extra({key: values[place] for key, values in scores.items()}, len(parts[place].problems))
        for place, split in enumerate(_UNFITTED)
    }
    return Frozen(frozen.rollouts, extra)


def _labelled(rollouts: Rollouts, normalizer: Normalizer, max_problems: int | None = None) -> Labelled:
    """Candidates of every problem, or of the first `max_problems`."""
    problems, each = rollouts.problems[:max_problems], rollouts.num_candidates
    latents = rollouts.latents
    if len(problems) < len(rollouts.problems):
        latents = latents.select(np.arange(len(problems) * each))
    return Labelled.of(
        [problem.statement for problem in problems], rollouts.candidates[:max_problems], latents, normalizer
    )


def _right_chains(home: Home, llm_tag: str, dataset: str) -> LatentSet | None:
    """Right chains of the train split; None where the dataset has none (an imported one)."""
    try:
        latents = open_latents(home, llm_tag, dataset, verify=False, extent=extent_made(home, llm_tag, dataset))
    except NotFoundError:
        return None
    right = np.flatnonzero((latents.first_error < 0) & latents.splits.equal("train"))
    if len(right) < 2:
        return None
    return latents.select(right[np.unique(np.linspace(0, len(right) - 1, min(len(right), REFERENCE)).astype(int))])


def _untrained(rollouts: Rollouts, reader: Reader, config: JepaConfig, feature: str) -> Float64:
    model = build_model(config, reader.normalizer.width, ()).eval().requires_grad_(False)
    energies = energies_of((model, reader), rollouts.latents)
    flat = [candidate for row in rollouts.candidates for candidate in row]
    return -chain_features(flat, energies)[feature]
