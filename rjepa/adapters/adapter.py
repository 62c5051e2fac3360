"""An adapter: W_in, by which a source student's R-JEPA reads a target student's latents, and W_out, the way back.

Here are the value and its two files. `adapter.safetensors` holds the numbers of both maps; `adapter.json`, written
last, says whose latents they map, how they were fitted, and the hash of the former. How they are fitted is
`rjepa.adapters.fitting`; what they are worth is measured in `rjepa.adapters.measuring`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rjepa.adapters.maps import LatentMap, MappedLatents
from rjepa.arrays import Float32
from rjepa.errors import CorruptError, NotFoundError
from rjepa.files import atomic_path, read_json, sha256_file, write_json
from rjepa.students.catalog import Poolings

ADAPTER_TENSORS: Final = "adapter.safetensors"
ADAPTER_FACTS: Final = "adapter.json"
ADAPTER_FILES: Final = (ADAPTER_TENSORS, ADAPTER_FACTS)
"""What `Adapter.load` reads back of a folder."""

_SHA256: Final = r"^[0-9a-f]{64}$"
_CURE: Final = "delete its folder and materialise adapter again"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Side(_Value):
    """The student at one end of an adapter, and the latents that are meant."""

    llm_tag: str
    fingerprint: str = Field(pattern=_SHA256, description="of the student: weights, layer, poolings, prompt and more")
    width: int = Field(ge=1, description="columns of its latents")
    poolings: Poolings


class AdapterFacts(_Value):
    """What an adapter is for and how it came to be."""

    format: Literal["rjepa-adapter-1"] = "rjepa-adapter-1"
    source: Side = Field(description="whose R-JEPA is carried")
    target: Side = Field(description="whose latents it reads")
    dataset: str = Field(description="dataset version whose chains both students read")
    model_sha256: str = Field(pattern=_SHA256, description="of the source's model.safetensors")
    normalizer_sha256: str = Field(pattern=_SHA256, description="of the source's normalizer.safetensors")
    method: str = Field(description="how W_in was fitted")
    share: float = Field(gt=0, le=1, description="part of the training problems that it was fitted on")
    problems: int = Field(ge=1, description="of these problems")
    pairs: int = Field(ge=1, description="latents that both students made of the same text")
    r2: float = Field(le=1, description="of W_in on pairs of held-out problems, in the source's standardised space")
    r2_back: float = Field(le=1, description="of W_out on the same pairs, in the target's")
    coverage: float = Field(ge=0, le=1, description="part of the target's own latents within reach of the pairs")
    agreement: float = Field(
        ge=-1, le=1, description="correlation of the log energies of held-out steps with those of the source itself"
    )
    seconds: float = Field(ge=0, description="processor time of all fits and of the choice among them")


@dataclass(frozen=True)
class Adapter(MappedLatents):
    """Two maps between a target's raw latents and a source's, with the facts that bind them to both."""

    facts: AdapterFacts
    into: LatentMap
    """W_in: target to source"""
    back: LatentMap
    """W_out: source to target"""

    def __post_init__(self) -> None:
        wanted = (self.facts.target.width, self.facts.source.width)
        if (self.into.width_in, self.into.width_out) != wanted or (self.back.width_out, self.back.width_in) != wanted:
            raise ValueError(f"expected maps between widths {wanted}")

    @property
    def source(self) -> Side:
        """The student whose R-JEPA is carried."""
        return self.facts.source

    @property
    def target(self) -> Side:
        """The student whose latents are read."""
        return self.facts.target

    @property
    def poolings(self) -> Poolings:
        """What stands side by side in the target's latents."""
        return self.target.poolings

    def restore(self, latents: Float[npt.NDArray[np.floating], "*rows width_out"]) -> Float[Float32, "*rows width_in"]:
        """The source's raw latents as the target's: no inverse of `read`, but the best guess of what would be read so.

        Raises:
            ValueError: they are not the source's width.
        """
        return self.back.apply(latents)

    def save(self, folder: Path) -> str:
        """Write both files, each atomically; returns the SHA-256 of the tensors, equal for equal maps."""
        maps = (("into", self.into), ("back", self.back))
        tensors = {f"{name}.{part}": values for name, each in maps for part, values in each.tensors().items()}
        with atomic_path(folder / ADAPTER_TENSORS) as temporary:
            save_file(tensors, temporary)
        sha256 = sha256_file(folder / ADAPTER_TENSORS)
        write_json(folder / ADAPTER_FACTS, {"facts": self.facts.model_dump(mode="json"), "sha256": sha256})
        return sha256

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            NotFoundError: no adapter was fitted here.
            CorruptError: a file cannot be read, or the two do not belong together.
        """
        facts = read_facts(folder)
        try:
            tensors = load_file(folder / ADAPTER_TENSORS)
            maps = {
                name: LatentMap.of_tensors(
                    {
                        part.removeprefix(f"{name}."): each
                        for part, each in tensors.items()
                        if part.startswith(f"{name}.")
                    }
                )
                for name in ("into", "back")
            }
            return cls(facts, maps["into"], maps["back"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise CorruptError(f"{folder / ADAPTER_TENSORS} is not an adapter ({error})", cure=_CURE) from error


def read_facts(folder: Path) -> AdapterFacts:
    """The facts of the adapter of a folder, checked against the bytes of its maps.

    Raises:
        NotFoundError: no adapter was fitted here.
        CorruptError: a file cannot be read, or the two do not belong together.
    """
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise NotFoundError(f"there is no {name} in {folder}", cure="materialise adapter")
    found = read_json(folder / ADAPTER_FACTS)
    try:
        facts, sha256 = AdapterFacts.model_validate(found["facts"]), found["sha256"]
    except (ValidationError, KeyError, TypeError) as error:
        raise CorruptError(f"{folder / ADAPTER_FACTS} does not describe an adapter ({error})", cure=_CURE) from error
    if sha256 != sha256_file(folder / ADAPTER_TENSORS):
        raise CorruptError(
            f"{folder / ADAPTER_TENSORS} is not the one that {ADAPTER_FACTS} was written for", cure=_CURE
        )
    return facts
