"""The one way in: every latent that a world model sees was read by its reader.

A reader picks the columns that the model was trained on and standardises them. Where the model was trained on another
student's latents, an adapter in front makes that student's latents of this one's. How columns come to be is
`rjepa.students.pooling`; where the standardisation comes from is `rjepa.latents.normalizer`; how an adapter is fitted
is `rjepa.adapters`.

Dimensions: width of the student's latents, columns of them that a model reads.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

from rjepa.arrays import Float32, Int64
from rjepa.errors import InvalidInputError
from rjepa.jepa.config import JepaConfig
from rjepa.latents.normalizer import Normalizer


@runtime_checkable
class InFront(Protocol):
    """What stands in front of a reader that was made for another student (`rjepa.adapters.adapter.Adapter`).

    The source is the student that the model was trained on, the target the one whose latents are to be read.
    """

    @property
    def width_in(self) -> int:
        """Columns of the target's latents."""

    @property
    def width_out(self) -> int:
        """Columns of the source's latents."""

    @property
    def own(self) -> Normalizer:
        """Location and scale of the target's latents."""

    @property
    def poolings(self) -> tuple[str, ...]:
        """What stands side by side in the target's latents."""

    def read(self, latents: Float[npt.NDArray[np.floating], "*rows width_in"]) -> Float[Float32, "*rows width_out"]:
        """The target's latents as the source's."""

    def restore(self, latents: Float[npt.NDArray[np.floating], "*rows width_out"]) -> Float[Float32, "*rows width_in"]:
        """The source's latents as the target's."""


@dataclass(frozen=True)
class Reader:
    """From a student's latents to what a model reads.

    Attributes:
        normalizer: location and scale of each latent column, fitted on train, for the student that the model was
            trained on.
        columns: indices of the columns that are read, among that student's; None for all of them.
        poolings: what stands side by side in what `restore` gives.
        adapter: from this student's latents to that student's; None where they are the same.
    """

    normalizer: Normalizer
    columns: Int[Int64, " columns"] | None
    poolings: tuple[str, ...]
    adapter: InFront | None = None

    def __post_init__(self) -> None:
        if self.adapter is not None and self.adapter.width_out != self.normalizer.width:
            raise InvalidInputError(
                f"the adapter makes latents of {self.adapter.width_out} columns, the normaliser was fitted on "
                f"{self.normalizer.width}",
                cure="materialise adapter again: the source's R-JEPA is another one now",
            )

    @classmethod
    def of(cls, config: JepaConfig, normalizer: Normalizer, adapter: InFront | None = None) -> "Reader":
        """The reader of a model's config.

        Raises:
            InvalidInputError: the normaliser's width cannot hold the poolings that the config names, or is not the
                adapter's.
        """
        poolings = config.use or config.poolings if adapter is None else adapter.poolings
        return cls(normalizer, latent_columns(config, normalizer.width), poolings, adapter)

    @property
    def width(self) -> int:
        """Columns of the student's latents."""
        return self.own.width

    @property
    def own(self) -> Normalizer:
        """Location and scale of the student's own latents, whatever the model was trained on."""
        return self.normalizer if self.adapter is None else self.adapter.own

    @property
    def columns_read(self) -> int:
        """Columns that the model sees."""
        return self.normalizer.width if self.columns is None else len(self.columns)

    def check(self, width: int) -> None:
        """Refuse latents of another width.

        Raises:
            InvalidInputError: they are not as wide as what the normaliser, or the adapter, was fitted on.
        """
        if width != self.width:
            raise InvalidInputError(
                f"latents are {width} wide, the R-JEPA reads latents of {self.width}",
                cure="read with the student, layer and poolings that it was made for: materialise latent_normalizer "
                "and rjepa_checkpoint, or adapter, for them",
            )

    def read(self, latents: Float[npt.NDArray[np.floating], "*rows width"]) -> Float[Float32, "*rows columns"]:
        """Latents of any float type as the model sees them."""
        standard = self.normalizer.apply(latents if self.adapter is None else self.adapter.read(latents))
        return standard if self.columns is None else standard[..., self.columns]

    def restore(self, read: Float[Float32, "*rows columns"]) -> Float[Float32, "*rows restored"]:
        """Back to the student's own space: values that were clipped stay clipped.

        The columns are those that the model sees, in its order. Through an adapter they are all of the student's, and
        the adapter's best guess: a column that the model does not see is held to be as it usually is.
        """
        location, scale = self.normalizer.location, self.normalizer.scale
        if self.columns is not None:
            location, scale = location[self.columns], scale[self.columns]
        restored: Float[Float32, "*rows columns"] = (read * scale + location).astype(np.float32)
        if self.adapter is None:
            return restored
        if self.columns is not None:
            usual = np.broadcast_to(self.normalizer.location, (*restored.shape[:-1], self.normalizer.width)).copy()
            usual[..., self.columns] = restored
            restored = usual
        return self.adapter.restore(restored)


def latent_columns(config: JepaConfig, width: int) -> Int[Int64, " columns"] | None:
    """Indices of the columns that the model reads, None for all of them.

    Raises:
        InvalidInputError: the latents' width cannot hold the poolings that the config names.
    """
    if width % len(config.poolings):
        raise InvalidInputError(
            f"latents of width {width} cannot hold the {len(config.poolings)} poolings {', '.join(config.poolings)}",
            cure="train on latents of the student's record as it is now: materialise latents again",
        )
    if config.use is None or config.use == config.poolings:
        return None
    block = width // len(config.poolings)
    return np.concatenate([np.arange(block) + config.poolings.index(name) * block for name in config.use])
