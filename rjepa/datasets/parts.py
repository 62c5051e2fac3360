"""Which files hold a dataset's records: its own, and those of the version it grew from, by reference.

A version that grew has a `base.json`, written before anything else of it: the parts it takes over, stage by stage, with
their hashes. Nothing here copies or rewrites a part. What goes into new parts is decided in `growing` and `building`.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rjepa.errors import CorruptError
from rjepa.files import read_json, write_json
from rjepa.home import Home

MANIFEST = "manifest.json"
BASE = "base.json"


@dataclass(frozen=True)
class Part:
    """One Parquet file of a released version: in which version's folder it lies, and what its bytes are."""

    dataset: str
    file: str
    sha256: str
    bytes: int
    rows: int

    def path(self, home: Home) -> Path:
        return home.dataset(self.dataset) / self.file


@dataclass(frozen=True)
class Base:
    """What a version takes over from its parent. `parts` is keyed by stage name; `identity` says from what it was
    worked out, so that a recipe that changed before the release gets a new one.
    """

    identity: str
    parent: str
    parent_hash: str
    parts: dict[str, list[Part]]
    removed: dict[str, int]


def read_base(home: Home, dataset: str) -> Base | None:
    """What a version takes over; None for one that begins from nothing.

    Raises:
        CorruptError: base.json is damaged.
    """
    path = home.dataset(dataset) / BASE
    if not path.exists():
        return None
    found = read_json(path)
    try:
        parts = {stage: [Part(**part) for part in listed] for stage, listed in found["parts"].items()}
        return Base(found["identity"], found["parent"], found["parent_hash"], parts, found["removed"])
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptError(
            f"{path} does not list parts ({error!r})", cure="delete it and materialise problems again"
        ) from error


def write_base(home: Home, dataset: str, base: Base) -> None:
    """Write it atomically, once: a killed build has either all of it or none."""
    write_json(home.dataset(dataset) / BASE, asdict(base))


def part_paths(home: Home, dataset: str, stage: str) -> list[Path]:
    """The files that hold a stage's records, the parent's first: those of the manifest, or what is made so far.

    Raises:
        CorruptError: a part is gone.
    """
    manifest = home.dataset(dataset) / MANIFEST
    if manifest.exists():
        paths = [part.path(home) for part in released_parts(dataset, read_json(manifest), stage)]
    else:
        base = read_base(home, dataset)
        inherited = [part.path(home) for part in base.parts[stage]] if base is not None else []
        paths = [*inherited, home.dataset(dataset) / f"{stage}.parquet"]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise CorruptError(
            f"dataset {dataset} needs {', '.join(map(str, missing))}, which is gone",
            cure=f"materialise {' and '.join(sorted({path.parent.name for path in missing}))} again, or bring it back",
        )
    return paths


def released_parts(dataset: str, manifest: dict[str, Any], stage: str) -> list[Part]:
    """The parts of a stage of a released version, as its manifest lists them (one, where it began from nothing)."""
    file = f"{stage}.parquet"
    listed = manifest.get("parts", {}).get(stage)
    if listed is not None:
        return [Part(**part) for part in listed]
    return [Part(dataset, file, **manifest["files"][file])]
