"""The one way in: every latent that a world model sees was read by its reader.

A reader picks the columns that the model was trained on and standardises them. How columns come to be is
`rjepa.students.pooling`; where the standardisation comes from is `rjepa.latents.normalizer`.

Dimensions: width of the student's latents, columns of them that a model reads.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

from rjepa.errors import InvalidInputError
from rjepa.jepa.config import JepaConfig
from rjepa.latents.normalizer import Normalizer

FloatRows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reader:
    """From a student's latents to what a model reads.

    Attributes:
        normalizer: location and scale of each latent column, fitted on train.
        columns: indices of the columns that are read; None for all of them.
    """

    normalizer: Normalizer
    columns: Int[npt.NDArray[np.int64], " columns"] | None

    @classmethod
    def of(cls, config: JepaConfig, normalizer: Normalizer) -> "Reader":
        """The reader of a model's config.

        Raises:
            InvalidInputError: the normaliser's width cannot hold the poolings that the config names.
        """
        return cls(normalizer, latent_columns(config, normalizer.width))

    @property
    def width(self) -> int:
        """Columns of the student's latents."""
        return self.normalizer.width

    @property
    def columns_read(self) -> int:
        """Columns that the model sees."""
        return self.width if self.columns is None else len(self.columns)

    def check(self, width: int) -> None:
        """Refuse latents of another width.

        Raises:
            InvalidInputError: they are not as wide as the normaliser was fitted on.
        """
        if width != self.width:
            raise InvalidInputError(
                f"latents are {width} wide, the normaliser was fitted on {self.width}",
                cure="materialise latent_normalizer for the same student and dataset",
            )

    def read(self, latents: Float[npt.NDArray[np.floating], "*rows width"]) -> Float[FloatRows, "*rows columns"]:
        """Latents of any float type as the model sees them."""
        standard = self.normalizer.apply(latents)
        return standard if self.columns is None else standard[..., self.columns]

    def restore(self, read: Float[FloatRows, "*rows columns"]) -> Float[FloatRows, "*rows columns"]:
        """Back to the student's own space: values that were clipped stay clipped.

        The columns are those that the model sees, in its order.
        """
        location, scale = self.normalizer.location, self.normalizer.scale
        if self.columns is not None:
            location, scale = location[self.columns], scale[self.columns]
        restored: Float[FloatRows, "*rows columns"] = (read * scale + location).astype(np.float32)
        return restored


def latent_columns(config: JepaConfig, width: int) -> Int[npt.NDArray[np.int64], " columns"] | None:
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
