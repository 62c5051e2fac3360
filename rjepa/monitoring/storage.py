"""What lies in the home: datasets with their counts, and how many bytes each part takes. Read only."""

import os
import shutil
from pathlib import Path
from typing import Any

from rjepa.datasets.reading import load_manifest
from rjepa.datasets.recipe import dataset_names, load_recipe
from rjepa.errors import NotFoundError, RjepaError
from rjepa.home import Home
from rjepa.values import FrozenValue


class DatasetState(FrozenValue):
    """One dataset that has a recipe. Counts are None until it is released."""

    name: str
    source: str
    parent: str | None
    description: str
    released_at: str | None = None
    problems: int | None = None
    by_domain: dict[str, int] = {}
    chains: int | None = None
    validation_rate: float | None = None
    size_bytes: int | None = None


class FolderSize(FrozenValue):
    """One folder of the home, with everything below it."""

    name: str
    size_bytes: int


class Storage(FrozenValue):
    """What the home takes, and what its disk has left."""

    folders: tuple[FolderSize, ...]
    disk_total: int
    disk_free: int

    @property
    def total(self) -> int:
        """Bytes of the whole home."""
        return sum(folder.size_bytes for folder in self.folders)


def read_datasets(home: Home) -> tuple[DatasetState, ...]:
    """Every dataset that has a recipe, released ones first. One that cannot be read is left without its counts."""
    found = [_dataset(home, name) for name in dataset_names(home)]
    return tuple(sorted(found, key=lambda state: (state.problems is None, state.name)))


def read_storage(home: Home) -> Storage:
    """Sizes of the home's folders, largest first. Files that vanish meanwhile do not count."""
    sizes = []
    root = home.root
    for path in root.iterdir() if root.is_dir() else []:
        sizes.append(FolderSize(name=path.name, size_bytes=size_of(path)))
    sizes.sort(key=lambda folder: -folder.size_bytes)
    usage = shutil.disk_usage(_existing(root))
    return Storage(folders=tuple(sizes), disk_total=usage.total, disk_free=usage.free)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        with os.scandir(path) as entries:
            return sum(size_of(Path(entry.path)) for entry in entries)
    except OSError:
        return 0


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _dataset(home: Home, name: str) -> DatasetState:
    recipe = load_recipe(home, name)
    state = DatasetState(name=name, source=recipe.source, parent=recipe.parent, description=recipe.description)
    try:
        manifest = load_manifest(home, name)
        return state.model_copy(update=_counts(home, name, manifest))
    except (NotFoundError, RjepaError, KeyError):
        return state


def _counts(home: Home, name: str, manifest: dict[str, Any]) -> dict[str, object]:
    counts = manifest["counts"]
    by_domain = {domain: sum(splits.values()) for domain, splits in counts["by_domain_and_split"].items()}
    return {
        "released_at": manifest["date"],
        "problems": counts["problems"],
        "by_domain": by_domain,
        "chains": manifest["chains"]["total"],
        "validation_rate": manifest["validation_rate"],
        "size_bytes": size_of(home.dataset(name)),
    }
