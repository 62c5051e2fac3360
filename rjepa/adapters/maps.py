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

from rjepa.arrays import Float32
from rjepa.latents.normalizer import Normalizer


@dataclass(frozen=True)
class Layer:
    """An affine layer of a network."""

    weight: Float[Float32, "width_in width_out"]
    bias: Float[Float32, " width_out"]

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.weight.shape[1:] != self.bias.shape:
            raise ValueError(f"a layer of shapes {self.weight.shape} and {self.bias.shape}")

    def apply(self, rows: Float[Float32, "*rows width_in"]) -> Float[Float32, "*rows width_out"]:
        """Its values, through SiLU."""
        values = rows @ self.weight + self.bias
        # Below -80 the float32 exponential would overflow; SiLU is 0 from far before on.
        silu: Float32 = (values / (1 + np.exp(-np.maximum(values, -80)))).astype(np.float32)
        return silu


@dataclass(frozen=True)
class Residual:
    """A small network whose values are added to those of the affine map.

    Attributes:
        up: into the hidden units.
        inner: further layers; each adds to the hidden units what it makes of them.
        down: out of the hidden units.
    """

    up: Layer
    inner: tuple[Layer, ...]
    down: Float[Float32, "hidden width_out"]

    def __post_init__(self) -> None:
        hidden = self.up.weight.shape[1]
        if self.down.ndim != 2 or self.down.shape[0] != hidden:
            raise ValueError(f"{hidden} hidden units are written, {self.down.shape} reads them")
        if any(layer.weight.shape != (hidden, hidden) for layer in self.inner):
            raise ValueError(f"an inner layer is not {hidden} units wide")

    def apply(self, standard: Float[Float32, "*rows width_in"]) -> Float[Float32, "*rows width_out"]:
        """What the network adds to each row."""
        hidden = self.up.apply(standard)
        for layer in self.inner:
            hidden = hidden + layer.apply(hidden)
        added: Float32 = hidden @ self.down
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
    weight: Float[Float32, "width_in width_out"]
    bias: Float[Float32, " width_out"]
    residual: Residual | None = None

    def __post_init__(self) -> None:
        wanted = (self.inputs.width, self.outputs.width)
        if self.weight.shape != wanted or self.bias.shape != wanted[1:]:
            raise ValueError(f"expected a weight {wanted} and a bias, got {self.weight.shape} and {self.bias.shape}")
        if self.residual is not None and (self.residual.up.weight.shape[0], self.residual.down.shape[1]) != wanted:
            raise ValueError(f"expected a residual between {wanted}")

    @property
    def width_in(self) -> int:
        """Columns of what comes in."""
        return self.inputs.width

    @property
    def width_out(self) -> int:
        """Columns of what goes out."""
        return self.outputs.width

    def apply(self, latents: Float[npt.NDArray[np.floating], "*rows width_in"]) -> Float[Float32, "*rows width_out"]:
        """Latents of any float type in the other space.

        Raises:
            ValueError: they are not as wide as the map reads.
        """
        return self.outputs.invert(self.between(self.inputs.apply(latents)))

    def between(self, standard: Float[Float32, "*rows width_in"]) -> Float[Float32, "*rows width_out"]:
        """The map between the standardised spaces."""
        mapped: Float32 = standard @ self.weight + self.bias
        if self.residual is not None:
            mapped += self.residual.apply(standard)
        return mapped

    def tensors(self) -> dict[str, Float32]:
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
            for number, layer in enumerate((self.residual.up, *self.residual.inner)):
                found |= {f"residual.{number}.weight": layer.weight, f"residual.{number}.bias": layer.bias}
            found["residual.down"] = self.residual.down
        return {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in found.items()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Float32]) -> Self:
        """What `tensors` gave.

        Raises:
            KeyError: one is missing.
            ValueError: their shapes do not belong together, or a value is not finite.
        """
        if not all(np.isfinite(values).all() for values in tensors.values()):
            raise ValueError("a value is not finite")
        residual = None
        if "residual.down" in tensors:
            count = sum(name.endswith(".weight") for name in tensors)
            layers = [
                Layer(tensors[f"residual.{number}.weight"], tensors[f"residual.{number}.bias"])
                for number in range(count)
            ]
            residual = Residual(layers[0], tuple(layers[1:]), tensors["residual.down"])
        inputs = Normalizer(tensors["inputs.location"], tensors["inputs.scale"])
        outputs = Normalizer(tensors["outputs.location"], tensors["outputs.scale"])
        if not (inputs.scale > 0).all() or not (outputs.scale > 0).all():
            raise ValueError("a scale is not above 0")
        return cls(inputs, outputs, tensors["weight"], tensors["bias"], residual)


class MappedLatents:
    """What an adapter, and a map that may become one, has in common: latents that are read through a map `into`."""

    into: LatentMap
    """W_in: target to source"""

    @property
    def width_in(self) -> int:
        """Columns of the target's latents."""
        return self.into.width_in

    @property
    def width_out(self) -> int:
        """Columns of the source's latents."""
        return self.into.width_out

    @property
    def own(self) -> Normalizer:
        """Location and scale of the target's latents."""
        return self.into.inputs

    def read(self, latents: Float[npt.NDArray[np.floating], "*rows width_in"]) -> Float[Float32, "*rows width_out"]:
        """The target's raw latents, of any float type, as the source's.

        Raises:
            ValueError: they are not the target's width.
        """
        return self.into.apply(latents)
