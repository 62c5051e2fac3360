import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rjepa.datasets.recipe import imported_file, load_recipe, registry_folder
from rjepa.datasets.sources import source_pairs
from rjepa.errors import CorruptError, InvalidInputError, StorageError
from rjepa.home import Home
from rjepa.progress import silent
from tests.datasets.importing import import_dataset

ROWS = [{"statement": f"What is {n} + 1?", "answer": n + 1, "licence": "MIT"} for n in range(4)]
Write = Callable[..., Path]


def registered(home: Home) -> dict[str, bytes]:
    folder = registry_folder(home)
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def test_a_good_file_becomes_a_dataset_with_a_recipe(home: Home, problem_file: Write) -> None:
    recipe = import_dataset(home, problem_file(ROWS), "homework")
    assert load_recipe(home, "homework") == recipe
    pairs = source_pairs(home, recipe, silent)
    assert [problem.answer_gold for problem, _ in pairs] == ["1", "2", "3", "4"]


def test_importing_the_same_again_changes_nothing(home: Home, problem_file: Write) -> None:
    first = import_dataset(home, problem_file(ROWS), "homework")
    before = registered(home)
    assert import_dataset(home, problem_file(ROWS, "copy.jsonl"), "homework") == first
    assert registered(home) == before


def test_a_used_name_is_refused_for_other_problems(home: Home, problem_file: Write) -> None:
    import_dataset(home, problem_file(ROWS), "homework")
    before = registered(home)
    with pytest.raises(InvalidInputError, match="never changes") as caught:
        import_dataset(home, problem_file(ROWS[:2]), "homework")
    assert "homework-2" in caught.value.cure
    assert registered(home) == before


@pytest.mark.parametrize("name", ["v1.0.0", "gsm_symbolic", "a|b", "../x", "", "Homework"])
def test_a_name_that_cannot_be_used_is_refused_and_nothing_is_written(
    home: Home, problem_file: Write, name: str
) -> None:
    with pytest.raises(InvalidInputError):
        import_dataset(home, problem_file(ROWS), name)
    assert registered(home) == {}


def test_one_bad_line_imports_nothing(home: Home, problem_file: Write) -> None:
    with pytest.raises(InvalidInputError, match="line 5"):
        import_dataset(home, problem_file([*ROWS, {"statement": "no answer?"}]), "homework")
    assert registered(home) == {}


def test_an_import_that_was_killed_before_its_recipe_is_simply_run_again(home: Home, problem_file: Write) -> None:
    path = imported_file(home, "homework")
    path.parent.mkdir(parents=True)
    path.write_text("left over")
    recipe = import_dataset(home, problem_file(ROWS), "homework")
    assert len(source_pairs(home, recipe, silent)) == 4


def test_an_imported_file_that_was_edited_or_lost_is_not_built_from(home: Home, problem_file: Write) -> None:
    recipe = import_dataset(home, problem_file(ROWS), "homework")
    imported_file(home, "homework").write_text("{}")
    with pytest.raises(CorruptError, match="changed"):
        source_pairs(home, recipe, silent)
    imported_file(home, "homework").unlink()
    with pytest.raises(CorruptError, match="missing"):
        source_pairs(home, recipe, silent)
    import_dataset(home, problem_file(ROWS), "homework")
    assert len(source_pairs(home, recipe, silent)) == 4


def test_an_import_into_a_home_that_is_a_file_is_refused(tmp_path: Path, problem_file: Write) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        import_dataset(Home(tmp_path / "file"), problem_file(ROWS), "homework")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(home: Home, problem_file: Write) -> None:
    path = problem_file(ROWS)
    path.chmod(0)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        import_dataset(home, path, "homework")
