"""How a stage keeps its file: written once, never rewritten with the same content, never changed after the release."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rjepa.datasets.parts import MANIFEST
from rjepa.datasets.recipe import DatasetRecipe
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import read_json, remove_temporary, sha256_file, sha256_json, write_json
from rjepa.home import Home
from rjepa.schemas import ChainOfThought, Problem
from rjepa.stages import StageReport
from rjepa.tables import write_records

_NOT_CONTENT = {"created_at"}


@dataclass(frozen=True)
class Stage:
    """One file of a dataset, and the report beside it."""

    name: str
    model: type[BaseModel]

    @property
    def file(self) -> str:
        return f"{self.name}.parquet"

    @property
    def report(self) -> str:
        return f"{self.name}.report.json"


PROBLEMS = Stage("problems", Problem)
TEACHER_CHAINS = Stage("teacher_chains", ChainOfThought)
VALIDATED_CHAINS = Stage("validated_chains", ChainOfThought)
STAGES = (PROBLEMS, TEACHER_CHAINS, VALIDATED_CHAINS)


def data_version(recipe: DatasetRecipe, records: Iterable[BaseModel]) -> str:
    """What a stage of a version holds: its own records and, where it grew, what it grew from and what it left out."""
    content = content_version(records)
    if recipe.source != "cumulative":
        return content
    return sha256_json([recipe.parent_hash, sorted(recipe.removes), content])


def content_version(records: Iterable[BaseModel]) -> str:
    """SHA-256 of records in order, dates of making left out. Does not depend on the Parquet library."""
    digest = sha256()
    for record in records:
        row = record.model_dump(exclude=_NOT_CONTENT)
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def store(
    home: Home, recipe: DatasetRecipe, stage: Stage, records: list[Any], metadata: dict[str, int | float | str]
) -> StageReport:
    """Write a stage's records and report, unless the same file lies there already.

    Raises:
        CorruptError: the dataset is released, and these are not the records it was released with.
    """
    folder = home.dataset(recipe.name)
    report = StageReport(data_version(recipe, records), metadata)
    manifest = released_manifest(home, recipe)
    if manifest is not None and manifest["stages"][stage.name]["data_version"] != report.data_version:
        raise CorruptError(
            f"{folder / stage.file} of the released dataset {recipe.name} is damaged, and this version of the code"
            " makes other records from the same recipe",
            cure="bring the file back from a backup, or make a new dataset version",
        )
    path, fresh = folder / stage.file, folder / f".{stage.file}.fresh.tmp"
    write_records(fresh, stage.model, records)
    if path.exists() and sha256_file(path) == sha256_file(fresh):
        fresh.unlink()
    else:
        fresh.replace(path)
    if not (folder / stage.report).exists() or read_json(folder / stage.report) != asdict(report):
        write_json(folder / stage.report, asdict(report))
    remove_temporary(folder)
    return report


def stored_report(home: Home, dataset: str, stage: Stage) -> StageReport:
    """The report that a stage left.

    Raises:
        NotFoundError: the stage has not run.
    """
    path = home.dataset(dataset) / stage.report
    if not path.exists():
        raise NotFoundError(f"dataset {dataset} has no {stage.name} yet", cure=f"materialise the asset {stage.name}")
    found = read_json(path)
    return StageReport(found["data_version"], found["metadata"])


def released_report(home: Home, recipe: DatasetRecipe, stage: Stage) -> StageReport | None:
    """What a stage made, if the dataset is released and the stage's file is as it was; then there is nothing to do."""
    manifest = released_manifest(home, recipe)
    path = home.dataset(recipe.name) / stage.file
    if manifest is None or not path.exists() or sha256_file(path) != manifest["files"][stage.file]["sha256"]:
        return None
    made = manifest["stages"][stage.name]
    return StageReport(made["data_version"], made["metadata"])


def released_manifest(home: Home, recipe: DatasetRecipe) -> dict[str, Any] | None:
    """The manifest of a released dataset, None if it is not released.

    Raises:
        InvalidInputError: it was released from another recipe.
    """
    path: Path = home.dataset(recipe.name) / MANIFEST
    if not path.exists():
        return None
    manifest: dict[str, Any] = read_json(path)
    if manifest["recipe_hash"] != recipe.hash():
        raise InvalidInputError(
            f"dataset {recipe.name} was released from another recipe ({manifest['recipe_hash'][:12]}) than the one"
            f" that is here now ({recipe.hash()[:12]}); a released dataset never changes",
            cure="undo the change to the recipe, or give the changed recipe a new name (bump the version)",
        )
    return manifest
