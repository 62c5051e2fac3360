"""What a dataset version is to hold: one typed recipe per version, from `configs/datasets/` or the user's registry.

The recipe alone (with the imported file, where there is one) decides every byte of the dataset.
"""

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from rjepa.configs import CONFIGS, config_names, load_config
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.files import sha256_json
from rjepa.home import Home, check_tag
from rjepa.problems.benchmarks import find_benchmark
from rjepa.problems.reasoning_gym import GymTask
from rjepa.schemas import Split

Source = Literal["curriculum", "gsm_symbolic", "reasoning_gym", "benchmark", "imported", "cumulative"]

_COSMETIC = {"description", "warnings", "validation_floor"}
_ADDED_LATER = {"parent_hash", "adds", "removes", "keep_out", "near_duplicates", "tasks", "benchmark", "origin"}
"""Fields that enter the hash only where they say something: recipes written before them keep their hash."""
_VERSION = re.compile(r"^\d+\.\d+\.\d+$")


class BenchmarkSource(BaseModel):
    """A published benchmark: from the hub, or from local files of the published schema."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="gsm8k, math, svamp, humaneval, mbpp, logiqa, mmlu, bbh, arc, hellaswag")
    hub_id: str | None = Field(None, description="another id of the hub, or a folder; None: where it is published")
    revision: str | None = Field(None, description="a commit, tag or branch of the hub's; None: the table's")
    subsets: list[str] = Field(default_factory=list, description="of the hub's configurations; empty: the table's")
    splits: list[str] = Field(default_factory=list, description="published splits that are read; empty: all")
    limit: PositiveInt | None = Field(None, description="rows of each subset and split; None: all")
    files: dict[str, str] = Field(
        default_factory=dict, description="published split -> local file; where given, the hub is not asked"
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            published = find_benchmark(self.name).splits
        except NotFoundError as error:
            raise ValueError(error.problem) from None
        unknown = sorted({*self.splits, *self.files} - set(published))
        if unknown:
            raise ValueError(f"{self.name} has no split {unknown[0]!r}; it has {', '.join(published)}")
        return self


class Teaching(BaseModel):
    """Which teachers write chains for a dataset's train and validation problems, beside its own worked solutions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teachers: list[str] = Field(min_length=1, description="names, as `rjepa teacher check` lists them")
    chains_per_problem: int = Field(2, ge=1, le=64, description="distinct chains, of each teacher")
    agreement: float = Field(
        0.6, gt=0, le=1, description="share of a problem's chains that must say the same where it has no gold answer"
    )


class DatasetRecipe(BaseModel):
    """One dataset version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="the dataset version's key: v1.0.0, gsm_symbolic, an imported set's name")
    version: str = Field("1.0.0", pattern=_VERSION.pattern, description="semantic version")
    source: Source
    description: str = ""
    created: AwareDatetime = Field(description="when the recipe was fixed; the date written into the chains it makes")
    seed: int = 0
    counts: dict[str, dict[Split, NonNegativeInt]] = Field(
        default_factory=dict, description="problems per domain and split; an import has what its file has"
    )
    difficulty_weights: dict[str, tuple[float, float, float]] = Field(
        default_factory=dict, description="shares of easy, medium and hard per curriculum domain; equal if left out"
    )
    licence: str = Field("unknown", description="of problems whose source names none")
    parent: str | None = Field(None, description="the version this one grew from")
    corrupted_share: float = Field(
        0.5, ge=0, le=1, description="share of curriculum problems that also get a wrong chain, as negatives"
    )
    parent_hash: str | None = Field(None, description="the parent's data hash: a version grows from this and no other")
    adds: dict[str, str] = Field(default_factory=dict, description="datasets this version adds, with their recipe hash")
    removes: list[str] = Field(default_factory=list, description="ids of the parent's problems that are left out")
    keep_out: dict[str, str] = Field(
        default_factory=dict,
        description="datasets whose test problems may not be trained on, with the data version of their problems",
    )
    near_duplicates: float | None = Field(
        None, gt=0, le=1, description="least Jaccard similarity at which a new problem counts as seen; None: exact only"
    )
    validation_floor: float = Field(
        0.95, ge=0, le=1, description="least share of valid chains among worked solutions; below it nothing is released"
    )
    tasks: list[GymTask] = Field(default_factory=list, description="of a reasoning_gym dataset")
    benchmark: BenchmarkSource | None = Field(None, description="which benchmark, and where its rows come from")
    origin: dict[str, str] = Field(default_factory=dict, description="of an import: the file's name and SHA-256")
    teaching: Teaching | None = Field(None, description="None: the source is its own teacher")
    content_sha256: str | None = Field(None, description="of the normalised file of an import")
    warnings: list[str] = Field(default_factory=list, description="what an import's owner should know")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.source == "imported" and self.content_sha256 is None:
            raise ValueError("an imported dataset needs content_sha256; import the file with `rjepa data import`")
        if self.source == "gsm_symbolic" and set(self.counts) != {"gsm_symbolic"}:
            raise ValueError("counts of a gsm_symbolic dataset have the one domain gsm_symbolic")
        if self.source == "cumulative":
            if self.parent is None or self.parent_hash is None:
                raise ValueError("a cumulative dataset needs parent and parent_hash; make it with `rjepa data create`")
            return self
        if (self.source == "reasoning_gym") != bool(self.tasks):
            raise ValueError("a reasoning_gym dataset, and no other, lists its tasks")
        if (self.source == "benchmark") != (self.benchmark is not None):
            raise ValueError("a benchmark dataset, and no other, says which benchmark")
        counted = self.source in ("curriculum", "gsm_symbolic")
        if counted and not any(n for split in self.counts.values() for n in split.values()):
            raise ValueError("counts are empty: give the problems per domain and split")
        return self

    def hash(self) -> str:
        """SHA-256 of everything that decides the content."""
        unsaid = {name for name in _ADDED_LATER if getattr(self, name) in (None, {}, [])}
        return sha256_json(self.model_dump(mode="json", exclude=_COSMETIC | unsaid))


def load_recipe(home: Home, dataset: str) -> DatasetRecipe:
    """The recipe of a dataset: this repository's own, then the user's.

    Raises:
        NotFoundError: there is no recipe of this name.
        InvalidInputError: its file does not fit, or names another dataset.
    """
    path = next((path for path in _paths(home, dataset) if path.exists()), None)
    if path is None:
        raise NotFoundError(
            f"there is no dataset {dataset!r}; known: {', '.join(dataset_names(home)) or 'none'}",
            cure="choose one of these, or add your own with `rjepa data import FILE --name NAME`",
        )
    recipe = load_config(path, DatasetRecipe)
    if recipe.name != dataset:
        raise InvalidInputError(
            f"{path} describes {recipe.name!r}, its file name says {dataset!r}", cure="make the two the same"
        )
    return recipe


def dataset_names(home: Home) -> list[str]:
    """Names of all datasets that have a recipe, this repository's own first."""
    own = config_names(own_folder())
    return own + [name for name in config_names(registry_folder(home)) if name not in own]


def own_folder() -> Path:
    """Where this repository's recipes lie."""
    return CONFIGS / "datasets"


def registry_folder(home: Home) -> Path:
    """Where the user's recipes and imported files lie."""
    return home.registry / "datasets"


def imported_file(home: Home, dataset: str) -> Path:
    """The normalised problems of an imported dataset."""
    return registry_folder(home) / f"{check_tag(dataset, 'dataset version')}.jsonl"


def _paths(home: Home, dataset: str) -> list[Path]:
    name = check_tag(dataset, "dataset version")
    return [own_folder() / f"{name}.yaml", registry_folder(home) / f"{name}.yaml"]


def recipe_yaml(recipe: DatasetRecipe) -> dict[str, Any]:
    """The recipe as it is written to a YAML file."""
    return recipe.model_dump(mode="json", exclude_defaults=True)
