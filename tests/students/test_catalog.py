"""Records: shipped and added students, and what is refused."""

from pathlib import Path

import pytest

from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.students.catalog import StudentRecord, list_records, load_record, save_record


def test_shipped_students_are_known_without_anything_in_the_home(tmp_path: Path) -> None:
    assert load_record(Home(tmp_path), "tiny-a").model == "bundled:tiny-a"
    assert {"tiny-a", "tiny-b", "tiny-gsm"} <= {record.llm_tag for record in list_records(Home(tmp_path))}


def test_an_added_student_is_found_again_as_it_was(tmp_path: Path) -> None:
    record = StudentRecord(llm_tag="mine", model="/models/mine", layer_idx=-3, poolings=("mean", "end"))
    save_record(Home(tmp_path), record)
    save_record(Home(tmp_path), record)
    assert load_record(Home(tmp_path), "mine") == record
    assert record in list_records(Home(tmp_path))


def test_a_tag_cannot_be_given_to_another_model(tmp_path: Path) -> None:
    save_record(Home(tmp_path), StudentRecord(llm_tag="mine", model="/models/mine"))
    with pytest.raises(InvalidInputError, match="another model.*\n.*choose another tag"):
        save_record(Home(tmp_path), StudentRecord(llm_tag="mine", model="/models/other"))
    with pytest.raises(InvalidInputError):
        save_record(Home(tmp_path), StudentRecord(llm_tag="tiny-a", model="/models/other"))


def test_an_unknown_tag_names_the_known_ones_and_the_cure(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="tiny-a.*\n.*rjepa llm add"):
        load_record(Home(tmp_path), "nobody")


@pytest.mark.parametrize("tag", ["a|b", "../etc", "", "A"])
def test_a_tag_that_cannot_name_a_partition_is_refused(tmp_path: Path, tag: str) -> None:
    with pytest.raises(InvalidInputError):
        load_record(Home(tmp_path), tag)


def test_a_broken_record_names_the_wrong_field(tmp_path: Path) -> None:
    folder = Home(tmp_path).registry / "students"
    folder.mkdir(parents=True)
    (folder / "odd.yaml").write_text("llm_tag: odd\nmodel: x\npoolings: [median]\n")
    with pytest.raises(InvalidInputError, match="poolings"):
        load_record(Home(tmp_path), "odd")
    (folder / "odd.yaml").write_text("llm_tag: other\nmodel: x\n")
    with pytest.raises(InvalidInputError, match="holds the student 'other'"):
        load_record(Home(tmp_path), "odd")
