"""A release leaves the home whole, with the student that it belongs to, or not at all."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rjepa.control.exporting import save_weights
from rjepa.control.place import Place
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.students.catalog import save_record
from rjepa.students.registering import new_record
from rjepa.students.resolving import BUNDLED, resolve_student
from tests.serving.fakes import publish


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A home whose student lies in a folder of its own."""
    home = Home(tmp_path / "home")
    shutil.copytree(BUNDLED / "tiny-b", tmp_path / "student")
    record = new_record("own", str(tmp_path / "student"))
    save_record(home, record)
    publish(home, 1, "own", fingerprint=resolve_student(home, record).fingerprint)
    return Place(home, "own", "http://127.0.0.1:1")


def exports(place: Place) -> list[str]:
    return sorted(path.name for path in (place.home.root / "exports").glob("*"))


def test_what_is_served_is_saved_with_a_student_that_loads(place: Place, tmp_path: Path) -> None:
    saved = save_weights(place)
    folder = Path(saved.folder)
    shutil.rmtree(tmp_path / "student")
    model = AutoModelForCausalLM.from_pretrained(folder / "student", dtype=torch.float32)
    assert model.config.model_type == "llama"
    assert saved.bytes == sum((folder / name).stat().st_size for name in saved.files)


def test_what_is_whole_is_not_written_again_and_what_is_damaged_is(place: Place) -> None:
    saved = save_weights(place)
    file = Path(saved.folder) / "student" / "config.json"
    before = file.stat().st_ino
    assert save_weights(place) == saved and file.stat().st_ino == before
    file.write_text("{}")
    assert save_weights(place) == saved and file.read_text() != "{}"


def test_a_student_that_changed_since_is_not_passed_off_as_the_releases(place: Place, tmp_path: Path) -> None:
    with (tmp_path / "student" / "generation_config.json").open("a") as file:
        file.write("\n")
    with pytest.raises(InvalidInputError, match="was made for student"):
        save_weights(place)
    assert exports(place) == []


def test_a_damaged_release_or_none_at_all_is_not_saved(place: Place) -> None:
    release_id = save_weights(place).release
    shutil.rmtree(place.home.root / "exports")
    (file,) = place.home.releases("own").glob(f"{release_id}/**/model.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptError):
        save_weights(place)
    with pytest.raises(NotFoundError):
        save_weights(Place(place.home, "other", place.dagster_url))
    assert exports(place) == []
