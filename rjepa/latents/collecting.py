"""Find the shards that no dataset version names any more, and remove them.

A shard is kept if a manifest names it, whatever became of the version; a release is of a version, whose manifests stay.
A shard that nobody names yet may be what an interrupted build goes on from, so that only older ones are collected; and
while a stage of the same LLM is at work (it holds `store_in_use`), nothing of its kind is.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from rjepa.errors import CorruptError
from rjepa.home import TAG_PATTERN, Home
from rjepa.latents.rollouts import rollout_version
from rjepa.latents.shards import Extent, latent_version
from rjepa.latents.versions import MANIFEST
from rjepa.locks import clearing_lock

Kind = Literal["latents", "rollouts", "verdicts"]
KINDS: Final[tuple[Kind, ...]] = ("latents", "rollouts", "verdicts")

_HOUR: Final = 3600.0


@dataclass(frozen=True)
class Unnamed:
    """Files of shards of one kind and LLM that may go: how many bytes they are, and of how many shards."""

    kind: Kind
    llm_tag: str
    shards: int
    files: tuple[Path, ...]
    size: int


@dataclass(frozen=True)
class Collected:
    """What was found, and what was not looked at: (kind, LLM tag, why)."""

    unnamed: list[Unnamed] = field(default_factory=list)
    skipped: list[tuple[Kind, str, str]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all that was found."""
        return sum(found.size for found in self.unnamed)


def collect(home: Home, *, delete: bool, older_than_hours: float) -> Collected:
    """Find what no manifest names, and with `delete` remove it. Killed at any time, it leaves whole shards or none.

    Args:
        home: where to look.
        delete: whether to remove what is found.
        older_than_hours: only files that were written longer ago.
    """
    result = Collected()
    for kind, llm_tag, folder in _stores(home):
        with clearing_lock(home, "shards", kind, llm_tag) as alone:
            if not alone:
                result.skipped.append((kind, llm_tag, "a stage is at work"))
                continue
            try:
                named = _named(home, kind, llm_tag)
            except CorruptError as error:
                result.skipped.append((kind, llm_tag, error.problem))
                continue
            found = _unnamed(kind, llm_tag, folder, named, time.time() - older_than_hours * _HOUR)
            if found.files:
                result.unnamed.append(found)
            if delete:
                _remove(found.files)
    return result


def _stores(home: Home) -> Iterator[tuple[Kind, str, Path]]:
    """(kind, LLM tag, folder) of all shards at home."""
    for kind in KINDS:
        root = home.root / "shards" / kind
        for folder in sorted(root.iterdir()) if root.is_dir() else []:
            if folder.is_dir() and TAG_PATTERN.fullmatch(folder.name):
                yield kind, folder.name, folder


def _named(home: Home, kind: Kind, llm_tag: str) -> set[tuple[str, str]]:
    """(folder, id) of every shard that a manifest names.

    Raises:
        CorruptError: a manifest cannot be read, so that nobody knows what it names.
    """
    named: set[tuple[str, str]] = set()
    if kind == "latents":
        extents: dict[Extent, str] = {"whole": "latents", "share": "latent_shares"}
        for extent, folder in extents.items():
            for dataset in _made(home.root / folder / llm_tag):
                latents = latent_version(home, llm_tag, dataset, extent).manifest()
                named |= {(latents.shard_folder, receipt.id) for receipt in latents.shards}
        return named
    for asset in ("rollouts", "train_rollouts"):
        for dataset in _made(home.root / asset / llm_tag):
            manifest = rollout_version(home, llm_tag, dataset, asset).manifest()
            if kind == "rollouts":
                named |= {(manifest.shard_folder, receipt.id) for receipt in manifest.shards}
            else:
                named |= {(manifest.verdict_folder, shard) for shard in manifest.verdict_shards}
    return named


def _made(folder: Path) -> list[str]:
    """Dataset versions that a build was finished of."""
    return sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}") if TAG_PATTERN.fullmatch(path.parent.name))


def _unnamed(kind: Kind, llm_tag: str, folder: Path, named: set[tuple[str, str]], before: float) -> Unnamed:
    """Files of shards that are not named, and what killed writers left; the receipts first."""
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (path.parent.name, path.stem) not in named and path.stat().st_mtime < before:
            files.append(path)
    files.sort(key=lambda path: path.suffix != ".json")
    shards = len({path.stem for path in files if not path.name.startswith(".")})
    return Unnamed(kind, llm_tag, shards, tuple(files), sum(path.stat().st_size for path in files))


def _remove(files: tuple[Path, ...]) -> None:
    """Remove files in this order, and folders that are empty then."""
    for path in files:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in files}:
        if not any(folder.iterdir()):
            folder.rmdir()
