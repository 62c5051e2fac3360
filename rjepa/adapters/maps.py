"""One map from a space of latents into another: standardise, an affine map, what a small network adds, and back.

Applied with numpy alone, where energies are made; how a map is fitted is `rjepa.adapters.fitting`.

Dimensions: width_in and width_out of the two spaces, hidden units of the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from rjepa.latents.normalizer import Normalizer

FloatRows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Residual:
    """A network of one hidden layer whose values are added to those of the affine map."""

    up: Float[FloatRows, "width_in hidden"]
    up_bias: Float[FloatRows, " hidden"]
    down: Float[FloatRows, "hidden width_out"]

    def __post_init__(self) -> None:
        if self.up.ndim != 2 or self.down.ndim != 2 or self.up.shape[1:] != self.up_bias.shape:
            raise ValueError(f"a residual of shapes {self.up.shape}, {self.up_bias.shape}, {self.down.shape}")
        if self.up.shape[1] != self.down.shape[0]:
            raise ValueError(f"{self.up.shape[1]} hidden units are written, {self.down.shape[0]} are read")

    def apply(self, standard: Float[FloatRows, "*rows width_in"]) -> Float[FloatRows, "*rows width_out"]:
        """What the network adds to each row."""
        hidden = standard @ self.up + self.up_bias
        # SiLU. Below -80 its float32 exponential would overflow; the value is 0 from far before on.
        hidden = (hidden / (1 + np.exp(-np.maximum(hidden, -80)))).astype(np.float32)
        added: FloatRows = hidden @ self.down
        return added


@dataclass(frozen=True)
class LatentMap:
    """From raw latents to raw latents of another space.

    Attributes:
        inputs: location and scale of what comes in; rows are standardised by it, and clipped.
        outputs: location and scale of what goes out.
        weight: of the affine map between the standardised spaces.
        bias: the same.
        residual: what is added to the affine map; None for an affine one.
    """

    inputs: Normalizer
    outputs: Normalizer
    weight: Float[FloatRows, "width_in width_out"]
    bias: Float[FloatRows, " width_out"]
    residual: Residual | None = None

    def __post_init__(self) -> None:
        wanted = (self.inputs.width, self.outputs.width)
        if self.weight.shape != wanted or self.bias.shape != wanted[1:]:
            raise ValueError(f"expected a weight {wanted} and a bias, got {self.weight.shape} and {self.bias.shape}")
        if self.residual is not None and (self.residual.up.shape[0], self.residual.down.shape[1]) != wanted:
            raise ValueError(f"expected a residual between {wanted}")

    @property
    def width_in(self) -> int:
        """Columns of what comes in."""
        return self.inputs.width

    @property
    def width_out(self) -> int:
        """Columns of what goes out."""
        return self.outputs.width

    def apply(self, latents: Float[npt.NDArray[np.floating], "*rows width_in"]) -> Float[FloatRows, "*rows width_out"]:
        """Latents of any float type in the other space.

        Raises:
            ValueError: they are not as wide as the map reads.
        """
        return self.outputs.invert(self.between(self.inputs.apply(latents)))

    def between(self, standard: Float[FloatRows, "*rows width_in"]) -> Float[FloatRows, "*rows width_out"]:
        """The map between the standardised spaces."""
        mapped: FloatRows = standard @ self.weight + self.bias
        if self.residual is not None:
            mapped += self.residual.apply(standard)
        return mapped

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """All numbers of the map by name."""
        found = {
            "inputs.location": self.inputs.location,
            "inputs.scale": self.inputs.scale,
            "outputs.location": self.outputs.location,
            "outputs.scale": self.outputs.scale,
            "weight": self.weight,
            "bias": self.bias,
        }
        if self.residual is not None:
            found |= {
                "residual.up": self.residual.up,
                "residual.up_bias": self.residual.up_bias,
                "residual.down": self.residual.down,
            }
        return {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in found.items()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, npt.NDArray[np.float32]]) -> Self:
        """What `tensors` gave.

        Raises:
            KeyError: one is missing.
            ValueError: their shapes do not belong together, or a value is not finite.
        """
        if not all(np.isfinite(values).all() for values in tensors.values()):
            raise ValueError("a value is not finite")
        residual = None
        if "residual.up" in tensors:
            residual = Residual(tensors["residual.up"], tensors["residual.up_bias"], tensors["residual.down"])
        inputs = Normalizer(tensors["inputs.location"], tensors["inputs.scale"])
        outputs = Normalizer(tensors["outputs.location"], tensors["outputs.scale"])
        if not (inputs.scale > 0).all() or not (outputs.scale > 0).all():
            raise ValueError("a scale is not above 0")
        return cls(inputs, outputs, tensors["weight"], tensors["bias"], residual)
