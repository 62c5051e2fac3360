"""The catalogue of public models in configs/students/catalog/: where each is, its shape, its licence. Values only.

A student may be any other model too; for those named here a short name will do, and their size is known before anything
is fetched. Where the numbers come from stands at the head of each file.
"""

import difflib
import functools
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rjepa.configs import CONFIGS, config_names, load_config
from rjepa.errors import NotFoundError
from rjepa.students.catalog import Quantisation
from rjepa.students.memory import ModelShape

FOLDER = CONFIGS / "students" / "catalog"


class KnownModel(BaseModel):
    """One public model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    hub_id: str = Field(pattern=r"^[^/]+/[^/]+$")
    architecture: str = Field(description="model_type in config.json")
    parameters: int = Field(gt=0, description="before quantisation; tied embeddings counted once")
    hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0, description="of a dense layer's MLP")
    num_layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    vocab_size: int = Field(gt=0, description="rows of the table of embeddings")
    tied: bool = Field(description="the output head is the table of embeddings")
    experts: int = Field(0, ge=0, description="of each layer; 0 for a dense model")
    expert_size: int = Field(0, ge=0, description="intermediate size of an expert")
    context_length: int = Field(gt=0, description="max_position_embeddings in config.json")
    licence: str
    gated: bool = Field(description="conditions have to be accepted on the hub, and HF_TOKEN set")
    chat_template: bool
    quantisation: Quantisation = Field("none", description="how the files on the hub are quantised")
    checked: Literal["litgpt", "count"] = Field(description="what the shape was compared with")

    @property
    def shape(self) -> ModelShape:
        """What its memory is worked out from."""
        return ModelShape(
            parameters=self.parameters,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_layers=self.num_layers,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            vocab_size=self.vocab_size,
            tied=self.tied,
            expert_parameters=3 * self.num_layers * self.experts * self.hidden_size * self.expert_size,
        )


class _Family(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[KnownModel, ...]


def list_known() -> list[KnownModel]:
    """Every model of the catalogue, family by family, in the order of its files."""
    return list(_read(FOLDER))


def find_known(name: str) -> KnownModel | None:
    """The model of this name or hub id, if the catalogue has it."""
    return next((model for model in list_known() if name in (model.name, model.hub_id)), None)


@functools.cache
def _read(folder: Path) -> tuple[KnownModel, ...]:
    families = [load_config(folder / f"{name}.yaml", _Family) for name in config_names(folder)]
    return tuple(model for family in families for model in family.models)


def get_known(name: str) -> KnownModel:
    """The model of this name.

    Raises:
        NotFoundError: the catalogue has none; names that are near are given.
    """
    model = find_known(name.lower())
    if model is None:
        names = [known.name for known in list_known()]
        near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
        raise NotFoundError(
            f"the catalogue has no model {name!r}" + (f"; near it: {', '.join(near)}" if near else ""),
            cure="see rjepa llm list --catalog, or give a hub id (owner/name), a folder, or a .gguf file",
        )
    return model
