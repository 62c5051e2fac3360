"""Build, list, read and verify release bundles: one folder, one manifest of named parts, every file hashed.

Which bundle is served is the pointer's business (`rjepa.releases.pointer`), what parts are is `rjepa.parts`, and how
good a release is stands in its evaluation records (`rjepa.evaluation.records`), which are added later and never here.
"""

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rjepa.adapters.adapter import AdapterFacts, read_facts
from rjepa.adapters.describing import describe_carried
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import atomic_folder, read_json, sha256_file, write_json
from rjepa.home import Home, check_tag
from rjepa.parts import ADAPTER_FOLDER, Content, PartSource, describe_parts
from rjepa.releases.content import check_content

MANIFEST: Final = "manifest.json"
FORMAT: Final = 2
"""Of the manifest. Format 1 had figures of one evaluation inside and no parts."""

_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")
_REBUILD = "materialise the release asset again, or roll back: rjepa release rollback"


class Diagnosis(BaseModel):
    """What the diagnostics say of the world model in a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool = Field(description="no collapse, no leak, and skill above the trivial predictors")
    figures: dict[str, float] = Field(default_factory=dict, description="skill, RankMe, deviation, ...")


class Manifest(Content):
    """Everything there is to know about a release when it is built. Paths of files are relative to its folder."""

    format: Literal[2] = FORMAT
    release_id: str
    code_version: str
    run_id: str = Field(description="Dagster run that built it, or 'manual'")
    reason: str
    replaces: str | None = Field(description="release that was current when this one was built")
    created_at: datetime
    diagnosis: Diagnosis
    content_hash: str = Field(description="over parts, student and dataset: equal content is one release")
    carried: AdapterFacts | None = Field(
        None, description="whose R-JEPA it is and how it was carried to this student; None for the student's own"
    )

    @property
    def describe(self) -> str:
        """Whose release it is, for people: the LLM, and where its R-JEPA was carried from."""
        return self.llm_tag if self.carried is None else f"{self.llm_tag}, {describe_carried(self.carried)}"


@dataclass(frozen=True)
class Facts:
    """What the caller knows about a release beside its files."""

    dataset_hash: str
    student_fingerprint: str
    diagnosis: Diagnosis
    reason: str
    run_id: str = "manual"
    code_version: str = ""
    """Empty: `code_version()`."""
    carried: AdapterFacts | None = None
    """of a release with an adapter: what the adapter says of itself"""


def code_version() -> str:
    """SHA-256 (12 hex digits) of the library's own sources: the same on every machine, with or without git."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}:{sha256_file(path)}\n".encode())
    return digest.hexdigest()[:12]


def describe_content(llm_tag: str, dataset: str, sources: Sequence[PartSource], facts: Facts) -> Content:
    """The content that a bundle of these parts has. Files are hashed and not changed.

    Raises:
        NotFoundError: a source file is missing.
    """
    return Content(
        llm_tag=check_tag(llm_tag),
        dataset=dataset,
        dataset_hash=facts.dataset_hash,
        student_fingerprint=facts.student_fingerprint,
        parts=describe_parts(sources),
    )


def build_bundle(
    home: Home,
    llm_tag: str,
    dataset: str,
    sources: Sequence[PartSource],
    facts: Facts,
    *,
    replaces: str | None = None,
) -> str:
    """Write the bundle and return its id. Equal content that is already there and whole is not copied again.

    Raises:
        NotFoundError: a source file is missing.
        CorruptError: a source file is neither JSON nor safetensors.
    """
    content = describe_content(llm_tag, dataset, sources, facts)
    paths = {name: path for source in sources for name, path in source.files.items()}
    for path in paths.values():
        check_content(path)
    for known in list_releases(home, llm_tag):
        if known.content_hash == content.sha256 and _is_whole(home, llm_tag, known.release_id):
            return known.release_id
    now = datetime.now(UTC)
    manifest = Manifest(
        **dict(content),
        release_id=f"{now:%Y%m%dT%H%M%SZ}-{content.sha256[:12]}",
        code_version=facts.code_version or code_version(),
        run_id=facts.run_id,
        reason=facts.reason,
        replaces=replaces,
        created_at=now,
        diagnosis=facts.diagnosis,
        content_hash=content.sha256,
        carried=facts.carried,
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
    value = read_json(path)
    _check_format(release_id, value)
    try:
        manifest = Manifest.model_validate(value)
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
    expected = manifest.sha256
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
    carried = None if manifest.part("adapter") is None else read_facts(folder / ADAPTER_FOLDER)
    if carried != manifest.carried:
        raise CorruptError(
            f"the manifest of release {release_id} and its adapter do not name the same R-JEPA", cure=_REBUILD
        )
    return manifest


def _check_format(release_id: str, value: Any) -> None:
    """Tell a release of an earlier version of R-JEPA from a damaged one."""
    found = value.get("format") if isinstance(value, dict) else None
    if isinstance(found, int) and found != FORMAT:
        raise CorruptError(
            f"release {release_id} has format {found}, this version of R-JEPA reads format {FORMAT}",
            cure="materialise the release asset again: what it is made of is still there",
        )


def _is_whole(home: Home, llm_tag: str, release_id: str) -> bool:
    try:
        verify(home, llm_tag, release_id)
    except CorruptError:
        return False
    return True
