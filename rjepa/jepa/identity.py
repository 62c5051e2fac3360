"""What names a run: a hash of its config and data, so that a checkpoint is continued by its own run only."""

import hashlib
from collections.abc import Iterable
from typing import Final

import numpy as np

from rjepa.files import sha256_json
from rjepa.jepa.config import JepaConfig
from rjepa.latents.mapped import take_rows
from rjepa.latents.normalizer import Normalizer
from rjepa.latents.sets import LatentSet

_ROWS: Final = 4096
_RECIPE: Final = 2
"""Raise when the objective or the loop changes, so that a checkpoint of the old one is not continued."""
_ADDED_LATER: Final = (("encoder", ("step_types",)), ("loss", ("delta", "step_type")))
"""Fields of the config that enter the hash only where they are on: runs from before them keep their names."""

_RANK_HEAD: Final = 2
"""The same for the ranking head and what it is taught, which most runs do not have."""


def fingerprint_of(
    config: JepaConfig,
    train: LatentSet,
    validation: LatentSet,
    normalizer: Normalizer,
    sampled: LatentSet | None = None,
    trunk: str | None = None,
) -> str:
    """Hex SHA-256. Latents enter through evenly spread rows: sets larger than memory are not read twice. `trunk` is the
    SHA-256 of what a run starts from.
    """
    # A trunk or a start is known by its weights, whatever run or release of whatever name they came from.
    parts: list[object] = [
        _RECIPE,
        config.model_dump(mode="json", exclude={"trunk": True, "init_from": True, **_unused(config)}),
    ]
    parts += [_digest(normalizer.location), _digest(normalizer.scale)]
    for latents in (train, validation, *([] if sampled is None else [sampled])):
        rows = latents.latents.shape[0]
        spread = np.unique(np.linspace(0, max(rows - 1, 0), min(rows, _ROWS)).astype(np.int64))
        parts += [list(latents.domain_names), latents.width, _digest(take_rows(latents.latents, spread))]
        parts += [_digest(latents.offsets), _digest(latents.domains), _digest(latents.first_error)]
        parts += [_digest_texts(latents.chain_ids), _digest_texts(latents.problem_ids)]
        if config.uses_step_types and latents.types is not None:
            parts.append(_digest(latents.types))
        if config.encoder.sentences and latents.prompts is not None and latents.prompt_of is not None:
            parts += [_digest(latents.prompts.offsets), _digest(latents.prompt_of)]
    if config.loss.rank > 0:
        parts.append(_RANK_HEAD)
    if trunk is not None:
        parts.append(trunk)
    return sha256_json(parts)


def _unused(config: JepaConfig) -> dict[str, set[str]]:
    return {part: {name for name in names if not getattr(getattr(config, part), name)} for part, names in _ADDED_LATER}


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _digest_texts(texts: Iterable[str]) -> str:
    # One by one: a million ids joined would weigh more than the training itself.
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()
