"""Per-dimension robust standardisation of latents: an artefact of its own, fitted once on train, used everywhere after.

Median and interquartile range, because a few dimensions of an LLM's hidden states are huge and would own mean and
deviation. Reading shards lives in `rjepa.latents.shards`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from rjepa.arrays import Float32
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import atomic_path, sha256_file
from rjepa.latents.mapped import take_rows
from rjepa.latents.sets import LatentSet

CLIP: Final = 8.0
"""Standardised values are held within +-8: beyond it, one outlying dimension of one step would outweigh all others."""

_SAMPLE_ROWS: Final = 20_000
_IQR_TO_DEVIATION: Final = 1.349
_SMALLEST_SCALE: Final = 1e-4
_FORMAT: Final = "rjepa-normalizer-1"


@dataclass(frozen=True)
class Normalizer:
    """location and scale are float32 [width]; scale is above 0 everywhere."""

    location: Float32
    scale: Float32

    @property
    def width(self) -> int:
        return len(self.location)

    def apply(self, latents: npt.NDArray[Any]) -> Float32:
        """Standardise [..., width] of any float type to float32, clipped to +-CLIP."""
        if latents.shape[-1] != self.width:
            raise ValueError(f"latents are {latents.shape[-1]} wide, the normaliser expects {self.width}")
        standard: Float32 = np.subtract(latents, self.location, dtype=np.float32)
        standard /= self.scale
        np.clip(standard, -CLIP, CLIP, out=standard)
        return standard

    def invert(self, standard: npt.NDArray[Any]) -> Float32:
        """Back to the LLM's own space, float32; what was clipped stays clipped."""
        return np.asarray(standard * self.scale + self.location, dtype=np.float32)


def fit_normalizer(train: LatentSet) -> Normalizer:
    """Fit on evenly spread rows of a set (at most 20 000: quantiles do not move past that).

    Raises:
        InvalidInputError: the set is empty or holds values that are not finite.
    """
    rows = train.latents.shape[0]
    if rows == 0 or len(train) == 0:
        raise InvalidInputError("there are no latents to fit a normaliser on", cure="use a dataset with train chains")
    chosen = np.unique(np.linspace(0, rows - 1, min(rows, _SAMPLE_ROWS)).astype(np.int64))
    return normalizer_of(take_rows(train.latents, chosen).astype(np.float32))


def normalizer_of(sample: Float32) -> Normalizer:
    """Fit on these rows [rows, width], at least one.

    Raises:
        InvalidInputError: they hold values that are not finite.
    """
    if not np.isfinite(sample).all():
        raise InvalidInputError(
            "the latents hold values that are not finite", cure="extract them in float32, or choose another layer"
        )
    low, middle, high = np.quantile(sample, [0.25, 0.5, 0.75], axis=0)
    robust, plain = (high - low) / _IQR_TO_DEVIATION, sample.std(axis=0)
    # Where most rows share one value the range is 0, and the plain deviation is the only one there is.
    scale = np.where(robust > _SMALLEST_SCALE, robust, np.maximum(plain, _SMALLEST_SCALE))
    return Normalizer(middle.astype(np.float32), scale.astype(np.float32))


def save_normalizer(path: Path, normalizer: Normalizer) -> str:
    """Atomically write safetensors; returns the file's SHA-256."""
    with atomic_path(path) as temporary:
        tensors = {"location": normalizer.location, "scale": normalizer.scale}
        save_file(tensors, temporary, metadata={"rjepa": json.dumps({"format": _FORMAT})})
    return sha256_file(path)


def load_normalizer(path: Path) -> Normalizer:
    """Read what `save_normalizer` wrote.

    Raises:
        NotFoundError: there is no such file.
        CorruptError: it is not a normaliser.
    """
    if not path.exists():
        raise NotFoundError(f"{path} does not exist", cure="materialise latent_normalizer")
    try:
        with safe_open(path, framework="numpy") as file:
            normalizer = Normalizer(file.get_tensor("location"), file.get_tensor("scale"))
    except SafetensorError as error:
        raise CorruptError(
            f"{path} is not a normaliser ({error})", cure="delete it and materialise latent_normalizer"
        ) from error
    shapes_fit = normalizer.location.ndim == 1 and normalizer.location.shape == normalizer.scale.shape
    if not shapes_fit or not np.isfinite(normalizer.location).all() or not (normalizer.scale > 0).all():
        raise CorruptError(f"{path} holds impossible values", cure="delete it and materialise latent_normalizer")
    return normalizer
