"""Read a dataset, and verify that it is what its manifest says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rjepa.datasets.leaks import measure_leaks
from rjepa.datasets.parts import MANIFEST, part_paths, released_parts
from rjepa.datasets.recipe import DatasetRecipe, load_recipe
from rjepa.datasets.splits import find_leaks
from rjepa.datasets.stages import PROBLEMS, STAGES, VALIDATED_CHAINS, Stage, data_version
from rjepa.errors import CorruptError, NotFoundError
from rjepa.files import read_json, sha256_file
from rjepa.home import Home
from rjepa.schemas import ChainOfThought, Problem, Split
from rjepa.tables import Record, read_records


@dataclass(frozen=True)
class VerifiedDataset:
    """A dataset whose every byte and count was checked."""

    dataset: str
    data_hash: str
    problems: int
    chains: int
    valid_chains: int


def load_problems(home: Home, dataset: str, split: Split | None = None, limit: int | None = None) -> list[Problem]:
    """Problems of a dataset, of one split or of all. The first `limit` of a split are of every domain in turn.

    Raises:
        NotFoundError: no such dataset, or its problems are not made yet.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit must not be negative: {limit}")
    problems = _load(home, dataset, PROBLEMS, Problem)
    chosen = [problem for problem in problems if split is None or problem.split == split]
    return chosen if limit is None else chosen[:limit]


def problem_ids(home: Home, dataset: str) -> frozenset[str]:
    """Ids of all problems of a dataset, without reading the problems themselves.

    Raises:
        NotFoundError: no such dataset, or its problems are not made yet.
    """
    import pyarrow.parquet as pq

    tables = (pq.read_table(path, columns=["problem_id"]) for path in stage_paths(home, dataset, PROBLEMS))
    return frozenset(name for table in tables for name in table["problem_id"].to_pylist())


def load_chains(home: Home, dataset: str, *, only_valid: bool = False) -> list[ChainOfThought]:
    """Judged chains of a dataset's train and validation problems. Targets are the valid ones only."""
    chains = _load(home, dataset, VALIDATED_CHAINS, ChainOfThought)
    return [chain for chain in chains if chain.is_valid or not only_valid]


def load_manifest(home: Home, dataset: str) -> dict[str, Any]:
    """The manifest of a released dataset.

    Raises:
        NotFoundError: no such dataset, or it is not released.
    """
    path = home.dataset(dataset) / MANIFEST
    if not path.exists():
        load_recipe(home, dataset)
        raise NotFoundError(
            f"dataset {dataset} is not released yet", cure=f"run `rjepa backfill --llm tiny-a --dataset {dataset}`"
        )
    manifest: dict[str, Any] = read_json(path)
    return manifest


def verify_dataset(home: Home, dataset: str) -> VerifiedDataset:
    """Check hashes, rows, content, leaks and verdicts of a released dataset against its manifest.

    Raises:
        CorruptError: anything differs; every difference is named.
        NotFoundError: no such dataset, or it is not released.
    """
    manifest = load_manifest(home, dataset)
    faults = []
    for part in [part for stage in STAGES for part in released_parts(dataset, manifest, stage.name)]:
        name = part.file if part.dataset == dataset else f"{part.file} of {part.dataset}"
        path = part.path(home)
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif (found := sha256_file(path)) != part.sha256:
            faults.append(f"{name} has hash {found[:12]}, expected {part.sha256[:12]}")
    if not faults:
        faults = _content_faults(home, dataset, manifest)
    if faults:
        raise CorruptError(
            f"dataset {dataset} is not what its manifest says: {'; '.join(faults)}",
            cure="materialise its assets again: files that can be made anew come back as they were",
        )
    return VerifiedDataset(
        dataset=dataset,
        data_hash=manifest["data_hash"],
        problems=manifest["counts"]["problems"],
        chains=manifest["chains"]["total"],
        valid_chains=manifest["chains"]["valid"],
    )


def _content_faults(home: Home, dataset: str, manifest: dict[str, Any]) -> list[str]:
    """What the version's own records say, then counts over all its parts, which are whole."""
    folder = home.dataset(dataset)
    recipe = DatasetRecipe.model_validate(manifest["recipe"])
    records = {stage.name: read_records(folder / stage.file, stage.model) for stage in STAGES}
    faults = []
    for stage in STAGES:
        rows, expected = len(records[stage.name]), manifest["files"][stage.file]["rows"]
        if rows != expected:
            faults.append(f"{stage.file} has {rows} rows, expected {expected}")
        if data_version(recipe, records[stage.name]) != manifest["stages"][stage.name]["data_version"]:
            faults.append(f"{stage.file} has other content than was released")
    faults += find_leaks([record for record in records[PROBLEMS.name] if isinstance(record, Problem)])
    if manifest["parent"] is not None:
        faults += measure_leaks(home, dataset).examples
    problems = sum(part.rows for part in released_parts(dataset, manifest, PROBLEMS.name))
    if problems != manifest["counts"]["problems"]:
        faults.append(f"{problems} problems, expected {manifest['counts']['problems']}")
    unjudged, valid = _verdicts(part_paths(home, dataset, VALIDATED_CHAINS.name))
    if unjudged:
        faults.append(f"{unjudged} chain(s) have no verdict")
    if valid != manifest["chains"]["valid"]:
        faults.append(f"{valid} valid chains, expected {manifest['chains']['valid']}")
    return faults


def _verdicts(paths: list[Path]) -> tuple[int, int]:
    """How many chains of these parts have no verdict, and how many are valid."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = [pq.read_table(path, columns=["is_valid"])["is_valid"] for path in paths]
    return sum(column.null_count for column in columns), sum(pc.sum(column).as_py() or 0 for column in columns)


def stage_paths(home: Home, dataset: str, stage: Stage) -> list[Path]:
    """The files that hold a stage's records, in order.

    Raises:
        NotFoundError: no such dataset, or the stage is not made yet.
        CorruptError: a part is gone.
    """
    if not (home.dataset(dataset) / stage.file).exists():
        load_recipe(home, dataset)  # an unknown dataset is distinguished from one that is not made yet
        raise NotFoundError(
            f"dataset {dataset} has no {stage.file} yet", cure=f"run `rjepa backfill --llm tiny-a --dataset {dataset}`"
        )
    return part_paths(home, dataset, stage.name)


def _load(home: Home, dataset: str, stage: Stage, model: type[Record]) -> list[Record]:
    return [record for path in stage_paths(home, dataset, stage) for record in read_records(path, model)]
