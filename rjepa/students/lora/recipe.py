"""The recipe of a LoRA: its size, what it is shown, how it is trained. Values only; one YAML file in configs/lora/."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rjepa.configs import CONFIGS, config_names, load_config
from rjepa.datasets.recipe import load_recipe
from rjepa.home import Home, check_tag
from rjepa.values import FrozenValue

RECIPES = CONFIGS / "lora"

Rank = Annotated[int, Field(ge=1, le=1024)]


class ReplayConfig(FrozenValue):
    """Which chains are shown again, so that what a student could before is kept (Robins 1995)."""

    dataset: str | None = Field(None, description="dataset version of the old chains; None: the version's parent")
    share: float = Field(0.5, ge=0, lt=1, description="of every batch")


class EwcConfig(FrozenValue):
    """A pull back to the base's matrices, strongest where old chains depend on them (`rjepa.students.lora.ewc`)."""

    weight: float = Field(0.0, ge=0, description="0 leaves it out")
    chains: int = Field(256, ge=1, description="old chains that its Fisher information is worked out from")


class OptimConfig(FrozenValue):
    """AdamW on the LoRA's matrices alone; its rate rises over `warmup` and falls to 0 as a cosine."""

    updates: int = Field(300, ge=1)
    batch_size: int = Field(32, ge=2, description="chains an update")
    micro_batch: int = Field(8, ge=1, description="chains of about one length that are passed at once: memory, speed")
    learning_rate: float = Field(0.002, gt=0)
    warmup: float = Field(0.05, ge=0, le=1, description="share of the updates")
    weight_decay: float = Field(0.0, ge=0)
    max_tokens: int = Field(512, ge=16, description="prompt and chain; longer ones are left out, and counted")
    checkpoint_every: int = Field(50, ge=1, description="updates between two checkpoints, each with a validation loss")


class LoraRecipe(FrozenValue):
    """One training of a LoRA, whole."""

    name: str
    ranks: tuple[Rank, ...] = Field((16,), min_length=1, description="tried; the lowest validation loss decides")
    alpha: float = Field(2.0, gt=0, description="times the rank: peft's lora_alpha")
    scale: float = Field(
        1.0,
        gt=0,
        le=1,
        description="of what was learnt so much is kept: weights between the base's and the trained ones keep more of "
        "what was known (Wortsman et al. 2022, arxiv.org/abs/2109.01903)",
    )
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description="names of the matrices that get a LoRA; all-linear: all but embeddings and head"
    )
    replay: ReplayConfig = ReplayConfig()
    ewc: EwcConfig = EwcConfig()
    optim: OptimConfig = OptimConfig()
    validation_chains: int = Field(256, ge=1, description="new ones and old ones, each, that a loss is measured on")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _ranks_differ(self) -> "LoraRecipe":
        if len(set(self.ranks)) < len(self.ranks):
            raise ValueError(f"ranks {self.ranks} must each be named once")
        return self


def load_lora_recipe(name: str) -> LoraRecipe:
    """The recipe `configs/lora/<name>.yaml`.

    Raises:
        NotFoundError: there is no such recipe.
        InvalidInputError: the name or the file does not fit.
    """
    return load_config(RECIPES / f"{check_tag(name, 'name of a recipe')}.yaml", LoraRecipe)


def lora_recipe_names() -> list[str]:
    """All recipes."""
    return config_names(RECIPES)


def replay_dataset(home: Home, dataset: str, recipe: LoraRecipe) -> str | None:
    """The dataset version that old chains come from; None where there is none.

    Raises:
        NotFoundError: there is no dataset of this name.
    """
    return recipe.replay.dataset or load_recipe(home, dataset).parent
