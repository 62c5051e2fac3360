"""Take a release out of the home: its parts and its student in one folder, for other programs and machines.

Which folder that is, this module says; callers name a release by its id and never a path.
"""

import shutil
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from rjepa.control.place import Place
from rjepa.files import atomic_folder, read_json, sha256_file, write_json
from rjepa.releases.bundle import MANIFEST, Manifest, release_folder, verify
from rjepa.releases.pointer import require_current
from rjepa.values import FrozenValue

Form = Literal["safetensors", "gguf"]
"""Format of the student's weights; the parts of a release are safetensors and JSON in either case."""

_LIST: Final = "files.json"
_STUDENT: Final = "student"
_TAKEN: Final = frozenset({".safetensors", ".json", ".jinja", ".txt", ".model"})
"""Suffixes of the files that a student is loaded from. Other formats of the same weights, and code, are not copied."""


class Saved(FrozenValue):
    """What was written, and where. Hashes are SHA-256."""

    release: str
    form: Form
    folder: str = Field(description="on the machine of the home")
    files: dict[str, str] = Field(description="hash by path within the folder")
    bytes: int


def save_weights(place: Place, release_id: str | None = None, form: Form = "safetensors") -> Saved:
    """Write a release and its student to `exports/` of the home, unless they are there already and whole.

    Args:
        release_id: None for the one that is served.

    Raises:
        NotFoundError, InvalidInputError: there is no such release, its student has changed since, or cannot be
            written in this form.
        CorruptError: a byte of the release is not what its manifest says.
        StorageError: the disk is full.
    """
    release_id = release_id or require_current(place.home, place.llm_tag)
    manifest = verify(place.home, place.llm_tag, release_id)
    folder = place.home.root / "exports" / f"{place.llm_tag}-{release_id}-{form}"
    if not _is_whole(folder):
        with atomic_folder(folder) as made:
            _copy_release(place, manifest, made)
            _write_student(place, manifest, form, made)
            write_json(made / _LIST, _hashes(made))
    files: dict[str, str] = read_json(folder / _LIST)
    size = sum((folder / name).stat().st_size for name in files)
    return Saved(release=release_id, form=form, folder=str(folder.resolve()), files=files, bytes=size)


def _copy_release(place: Place, manifest: Manifest, made: Path) -> None:
    source = release_folder(place.home, place.llm_tag, manifest.release_id)
    for name in (MANIFEST, *manifest.files):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, made / name)


def _write_student(place: Place, manifest: Manifest, form: Form, made: Path) -> None:
    # torch and transformers come with them: a look at learning's state does without.
    from rjepa.students.catalog import load_record
    from rjepa.students.gguf_writing import write_gguf
    from rjepa.students.loading import loadable_folder, resolve_student
    from rjepa.students.lora.merging import write_merged
    from rjepa.students.resolving import check_student

    resolved = resolve_student(place.home, load_record(place.home, place.llm_tag))
    check_student(f"release {manifest.release_id}", manifest.student_fingerprint, resolved)
    if resolved.lora is not None:
        merged = write_merged(resolved, made / _STUDENT)
        if form == "gguf":
            write_gguf(merged, made / f"{place.llm_tag}.gguf", place.llm_tag)
            shutil.rmtree(merged)
        return
    if form == "gguf":
        target = made / f"{place.llm_tag}.gguf"
        if resolved.unpacked is not None:
            shutil.copyfile(resolved.weights[0], target)
        else:
            write_gguf(resolved.path, target, place.llm_tag)
        return
    (made / _STUDENT).mkdir()
    for path in loadable_folder(resolved).iterdir():
        if path.is_file() and path.suffix in _TAKEN:
            shutil.copyfile(path, made / _STUDENT / path.name)


def _hashes(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in paths}


def _is_whole(folder: Path) -> bool:
    if not (folder / _LIST).is_file():
        return False
    known = read_json(folder / _LIST)
    return bool(known == {name: value for name, value in _hashes(folder).items() if name != _LIST})
