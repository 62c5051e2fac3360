"""Remove a dataset with all that was made of it: nothing of it is left, or, killed at any moment, the next try goes on.

What goes is first moved into `.removing/NAME`, the recipe before the rest: from that moment the dataset is unknown.
Shards of latents and chains, which others may share, stay until `rjepa gc`. Dagster's partition keys are
`rjepa_assets`' matter.
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rjepa.datasets.parts import MANIFEST
from rjepa.datasets.recipe import dataset_names, imported_file, load_recipe, own_folder, registry_folder
from rjepa.errors import BusyError, CorruptError, InvalidInputError
from rjepa.files import read_json, storage_errors
from rjepa.home import Home, check_tag
from rjepa.locks import clearing_lock

_BY_LLM: Final = ("rollouts", "train_rollouts", "latents", "latent_shares", "models", "reports")
"""Folders of the home that hold one folder for each LLM and dataset."""


@dataclass(frozen=True)
class Removal:
    """What is there of a dataset: paths that would go, and their size. `comes_with_rjepa`: its recipe stays."""

    dataset: str
    paths: tuple[Path, ...]
    bytes: int
    comes_with_rjepa: bool


def plan_removal(home: Home, dataset: str) -> Removal:
    """What `remove_dataset` would remove.

    Raises:
        NotFoundError: there is no such dataset.
        InvalidInputError: something depends on it (everything that does is named), or there is nothing to remove.
    """
    check_tag(dataset, "dataset version")
    if not _removing(home, dataset).exists() or dataset in dataset_names(home):
        load_recipe(home, dataset)
        found = dependents(home, dataset)
        if found:
            raise InvalidInputError(
                f"{dataset} cannot be removed: {'; '.join(found)}",
                cure="remove these first (`rjepa data remove VERSION`; a release that is not served: its folder), or "
                f"keep {dataset}",
            )
    paths = tuple(path for path in _paths(home, dataset) if path.exists())
    if not paths:
        raise InvalidInputError(
            f"nothing was made of {dataset}, and its recipe comes with R-JEPA", cure="there is nothing to remove"
        )
    size = sum(file.stat().st_size for path in paths for file in (path, *path.rglob("*")) if file.is_file())
    return Removal(dataset, paths, size, comes_with_rjepa=(own_folder() / f"{dataset}.yaml").exists())


def remove_dataset(home: Home, dataset: str) -> Removal:
    """Remove a dataset: its recipe, its problems and chains, and what each LLM made of it.

    Raises:
        NotFoundError: there is no such dataset.
        InvalidInputError: something depends on it.
        BusyError: another process is making something of it.
    """
    removal = plan_removal(home, dataset)
    with _all_locks(home, dataset):
        _move_and_delete(home, dataset)
    return removal


def finish_removal(home: Home, dataset: str) -> None:
    """Go on with a removal that was cut off, if there is one: its name may be used again then."""
    if _removing(home, dataset).exists() and dataset not in dataset_names(home):
        _move_and_delete(home, dataset)


def dependents(home: Home, dataset: str) -> list[str]:
    """What needs a dataset, in words: versions that grew from it or hold its parts, releases that were made of it."""
    found = []
    for name in dataset_names(home):
        if name == dataset:
            continue
        recipe = load_recipe(home, name)
        manifest = home.dataset(name) / MANIFEST
        if recipe.parent == dataset:
            found.append(f"version {name} grew from it")
        elif dataset in recipe.adds:
            found.append(f"version {name} adds it")
        elif dataset in recipe.keep_out and not manifest.exists():
            found.append(f"version {name}, which is not made yet, keeps its tests out")
        elif manifest.exists() and dataset in _part_datasets(manifest):
            found.append(f"version {name} has parts of it")
    for manifest in sorted((home.root / "releases").glob("*/*/manifest.json")):
        if _read(manifest).get("dataset") == dataset:
            found.append(f"release {manifest.parent.name} of {manifest.parent.parent.name} was made of it")
    return found


def _part_datasets(manifest: Path) -> set[str]:
    parts = _read(manifest).get("parts") or {}
    return {str(part["dataset"]) for listed in parts.values() for part in listed}


def _read(manifest: Path) -> dict[str, Any]:
    found: Any = read_json(manifest)
    if not isinstance(found, dict):
        raise CorruptError(f"{manifest} is no manifest", cure="bring it back from a backup, or delete its folder")
    return found


def _paths(home: Home, dataset: str) -> Iterator[Path]:
    """Everything that can be there of a dataset; the recipe first."""
    recipe = registry_folder(home) / f"{dataset}.yaml"
    yield recipe
    yield imported_file(home, dataset)
    yield imported_file(home, dataset).with_suffix(".source.json")
    yield home.dataset(dataset)
    for folder in _BY_LLM:
        for of_llm in sorted((home.root / folder).glob("*/")):
            yield of_llm / dataset
    yield _removing(home, dataset)


def _removing(home: Home, dataset: str) -> Path:
    return home.root / ".removing" / dataset


def _move_and_delete(home: Home, dataset: str) -> None:
    away = _removing(home, dataset)
    with storage_errors(away):
        away.mkdir(parents=True, exist_ok=True)
        for path in _paths(home, dataset):
            if path != away and path.exists():
                path.rename(away / "-".join(path.relative_to(home.root).parts))
        shutil.rmtree(away)


@contextlib.contextmanager
def _all_locks(home: Home, dataset: str) -> Iterator[None]:
    """Hold every lock that names the dataset.

    Raises:
        BusyError: another process holds one.
    """
    root = home.root / "locks"
    with contextlib.ExitStack() as held:
        for path in sorted(root.glob("**/*.lock")):
            names = (*path.relative_to(root).parts[:-1], path.name.removesuffix(".lock"))
            if dataset in names[1:] and not held.enter_context(clearing_lock(home, *names)):
                raise BusyError(
                    f"{dataset} is in use: another process is making {names[0]} of it", cure="wait for it, or stop it"
                )
        yield
