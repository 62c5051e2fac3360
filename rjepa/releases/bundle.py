"""Build, list, read and verify release bundles: one folder, one manifest, every file hashed.

Which bundle is served is the pointer's business (`rjepa.releases.pointer`).
"""

import hashlib
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import atomic_folder, read_json, sha256_file, sha256_json, write_json
from rjepa.home import Home, check_tag
from rjepa.releases.content import check_content
from rjepa.releases.gate import Figures

MANIFEST: Final = "manifest.json"
NORMALIZER: Final = "normalizer.safetensors"
CALIBRATION: Final = "calibration.json"
MODEL_FOLDER: Final = "model"
MODEL_FILES: Final = ("config.json", "model.safetensors")
"""What `rjepa.jepa.checkpoint` reads back. Optimiser state and logs stay with the checkpoint: they are not served."""

_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")
_REBUILD = "materialise the release asset again, or roll back: rjepa release rollback"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Record):
    """Size in bytes and hex SHA-256 of one file."""

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(_Record):
    """Everything there is to know about a release. `files` are paths relative to the bundle's folder."""

    format: int = Field(1, ge=1, le=1)
    release_id: str
    llm_tag: str
    dataset: str
    dataset_hash: str = Field(description="data_hash of the dataset's manifest")
    student_fingerprint: str = Field(description="SHA-256 of weights, tokenizer, config, layer, poolings and prompt")
    code_version: str
    run_id: str = Field(description="Dagster run that built it, or 'manual'")
    reason: str
    replaces: str | None = Field(description="release that was current when this one was built")
    created_at: datetime
    figures: Figures
    scoring: dict[str, Any] = Field(description="how candidates are scored: weights and method of the calibration")
    files: dict[str, FileEntry]
    content_hash: str = Field(description="over files, student and dataset: equal content is one release")


@dataclass(frozen=True)
class Sources:
    """Files a release is made of, wherever their assets wrote them."""

    model: Path
    """Folder holding `config.json` and `model.safetensors`."""
    normalizer: Path
    calibration: Path


@dataclass(frozen=True)
class Facts:
    """What the caller knows about a release beside its files."""

    dataset_hash: str
    student_fingerprint: str
    figures: Figures
    scoring: dict[str, Any]
    reason: str
    run_id: str = "manual"
    code_version: str = ""
    """Empty: `code_version()`."""


def code_version() -> str:
    """SHA-256 (12 hex digits) of the library's own sources: the same on every machine, with or without git."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}:{sha256_file(path)}\n".encode())
    return digest.hexdigest()[:12]


def build_bundle(
    home: Home, llm_tag: str, dataset: str, sources: Sources, facts: Facts, *, replaces: str | None = None
) -> str:
    """Write the bundle and return its id. Equal content that is already there and whole is not copied again.

    Raises:
        NotFoundError: a source file is missing.
        CorruptError: a source file is neither JSON nor safetensors.
    """
    paths = _source_files(sources)
    for path in paths.values():
        if not path.exists():
            raise NotFoundError(f"{path} does not exist", cure="materialise the asset that writes it")
        check_content(path)
    files = {name: FileEntry(size=path.stat().st_size, sha256=sha256_file(path)) for name, path in paths.items()}
    content = _content_hash(files, check_tag(llm_tag), dataset, facts.dataset_hash, facts.student_fingerprint)
    for known in list_releases(home, llm_tag):
        if known.content_hash == content and _is_whole(home, llm_tag, known.release_id):
            return known.release_id
    now = datetime.now(UTC)
    manifest = Manifest(
        release_id=f"{now:%Y%m%dT%H%M%SZ}-{content[:12]}",
        llm_tag=llm_tag,
        dataset=dataset,
        dataset_hash=facts.dataset_hash,
        student_fingerprint=facts.student_fingerprint,
        code_version=facts.code_version or code_version(),
        run_id=facts.run_id,
        reason=facts.reason,
        replaces=replaces,
        created_at=now,
        figures=facts.figures,
        scoring=facts.scoring,
        files=files,
        content_hash=content,
    )
    with atomic_folder(home.releases(llm_tag) / manifest.release_id) as folder:
        for name, path in paths.items():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, folder / name)
        write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return manifest.release_id


def release_folder(home: Home, llm_tag: str, release_id: str) -> Path:
    """Folder of one release. An id is looked up, never used as a path.

    Raises:
        InvalidInputError: `release_id` does not have the form of an id.
        NotFoundError: there is no such release.
        CorruptError: the release is a link, or lies outside the releases of this LLM.
    """
    if not _ID.fullmatch(release_id):
        raise InvalidInputError(
            f"{release_id!r} is not a release id",
            cure="choose one that `rjepa release list` shows (20260101T120000Z-...)",
        )
    root = home.releases(llm_tag)
    folder = root / release_id
    if folder.is_symlink() or not folder.resolve().is_relative_to(root.resolve()):
        raise CorruptError(f"release {release_id} of {llm_tag} is a link, not a folder", cure=_REBUILD)
    if not folder.is_dir():
        raise NotFoundError(f"{llm_tag} has no release {release_id}", cure="choose one that `rjepa release list` shows")
    return folder


def load_manifest(home: Home, llm_tag: str, release_id: str) -> Manifest:
    """Read a release's manifest. Its files are not checked: see `verify`.

    Raises:
        NotFoundError, InvalidInputError: as `release_folder`.
        CorruptError: the manifest does not fit its contract or belongs to another release.
    """
    path = release_folder(home, llm_tag, release_id) / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise CorruptError(f"release {release_id} has no manifest of its own", cure=_REBUILD)
    try:
        manifest = Manifest.model_validate(read_json(path))
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise CorruptError(f"{path} does not fit its contract: {fields}", cure=_REBUILD) from error
    if (manifest.release_id, manifest.llm_tag) != (release_id, llm_tag):
        raise CorruptError(
            f"{path} describes {manifest.llm_tag}/{manifest.release_id}, expected {llm_tag}/{release_id}", cure=_REBUILD
        )
    return manifest


def list_releases(home: Home, llm_tag: str) -> list[Manifest]:
    """Manifests of every readable release, oldest first. Unreadable ones are left out: `verify` says why."""
    manifests = []
    root = home.releases(llm_tag)
    for folder in root.iterdir() if root.is_dir() else []:
        if _ID.fullmatch(folder.name):
            try:
                manifests.append(load_manifest(home, llm_tag, folder.name))
            except (CorruptError, NotFoundError):
                continue
    return sorted(manifests, key=lambda manifest: manifest.created_at)


def verify(home: Home, llm_tag: str, release_id: str) -> Manifest:
    """Read the manifest and check every byte of the bundle against it.

    Raises:
        NotFoundError, InvalidInputError: as `release_folder`.
        CorruptError: a wrong hash or size, a missing or unlisted file, a link, or content that is neither JSON nor
            safetensors. The message names the file, found against expected.
    """
    folder = release_folder(home, llm_tag, release_id)
    manifest = load_manifest(home, llm_tag, release_id)
    expected = _content_hash(
        manifest.files, llm_tag, manifest.dataset, manifest.dataset_hash, manifest.student_fingerprint
    )
    if manifest.content_hash != expected or not release_id.endswith(f"-{expected[:12]}"):
        raise CorruptError(f"the manifest of release {release_id} was changed after it was written", cure=_REBUILD)
    found = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise CorruptError(f"release {release_id}: {name} is a link", cure=_REBUILD)
        if not path.is_dir() and name != MANIFEST:
            found.add(name)
    if missing := sorted(set(manifest.files) - found):
        raise CorruptError(f"release {release_id} lacks {', '.join(missing)}", cure=_REBUILD)
    if unlisted := sorted(found - set(manifest.files)):
        raise CorruptError(f"release {release_id}: {unlisted} are not in its manifest", cure=_REBUILD)
    for name, entry in manifest.files.items():
        if (size := (folder / name).stat().st_size) != entry.size:
            raise CorruptError(f"release {release_id}: {name} has {size} bytes, expected {entry.size}", cure=_REBUILD)
        if (digest := sha256_file(folder / name)) != entry.sha256:
            raise CorruptError(
                f"release {release_id}: {name} has hash {digest[:12]}, expected {entry.sha256[:12]}",
                cure=_REBUILD,
            )
        check_content(folder / name)
    return manifest


def _source_files(sources: Sources) -> dict[str, Path]:
    files = {NORMALIZER: sources.normalizer, CALIBRATION: sources.calibration}
    return files | {f"{MODEL_FOLDER}/{name}": sources.model / name for name in MODEL_FILES}


def _content_hash(
    files: dict[str, FileEntry], llm_tag: str, dataset: str, dataset_hash: str, student_fingerprint: str
) -> str:
    hashes = {name: entry.sha256 for name, entry in files.items()}
    return sha256_json(
        {"files": hashes, "llm": llm_tag, "dataset": dataset, "data": dataset_hash, "student": student_fingerprint}
    )


def _is_whole(home: Home, llm_tag: str, release_id: str) -> bool:
    try:
        verify(home, llm_tag, release_id)
    except CorruptError:
        return False
    return True
