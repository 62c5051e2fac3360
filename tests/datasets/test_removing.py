"""A dataset that is removed leaves nothing behind, whatever happens meanwhile, and nothing that others need goes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rjepa.datasets.recipe import dataset_names, load_recipe
from rjepa.datasets.removing import plan_removal, remove_dataset
from rjepa.datasets.versions import create_version
from rjepa.errors import BusyError, InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.locks import stage_lock
from tests.datasets.conftest import build
from tests.datasets.importing import import_dataset

ROWS = [{"statement": f"What is {n} + 1?", "answer": n + 1, "steps": [f"{n} + 1 = {n + 1}"]} for n in range(8)]
Write = Callable[..., Path]


def made(home: Home, problem_file: Write, name: str = "homework", split: str = "test") -> Home:
    """An imported dataset, built, with folders of two LLMs."""
    build(home, import_dataset(home, problem_file(ROWS, f"{name}.jsonl"), name, split))  # type: ignore[arg-type]
    for folder in (home.rollouts("tiny-a", name), home.latents("tiny-b", name), home.reports("tiny-a", name)):
        folder.mkdir(parents=True)
        (folder / "kept.json").write_text("{}")
    return home


def left_of(home: Home, name: str) -> list[str]:
    return [
        str(path.relative_to(home.root))
        for path in home.root.rglob("*")
        if name in path.name and "locks" not in path.parts
    ]


def test_a_removed_dataset_leaves_nothing_and_its_neighbours_stay(home: Home, problem_file: Write) -> None:
    made(home, problem_file)
    made(home, problem_file, "homework-2")
    removal = remove_dataset(home, "homework")
    assert removal.bytes > 0
    assert "homework" not in dataset_names(home)
    assert [path for path in left_of(home, "homework") if "homework-2" not in path] == []
    assert load_recipe(home, "homework-2").name == "homework-2"
    assert (home.rollouts("tiny-a", "homework-2") / "kept.json").exists()
    with pytest.raises(NotFoundError):
        remove_dataset(home, "homework")
    import_dataset(home, problem_file(ROWS[:3]), "homework")


KILLED_AFTER = """
import os, signal, sys
from pathlib import Path
from rjepa.datasets.removing import remove_dataset
from rjepa.home import Home

moves = int(sys.argv[2])
rename, mkdir = Path.rename, Path.mkdir
def counted(path, target):
    global moves
    if moves == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    moves -= 1
    return rename(path, target)
Path.rename = counted
import shutil
def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
shutil.rmtree = killed
remove_dataset(Home(Path(sys.argv[1])), "homework")
"""


@pytest.mark.parametrize("moves", [0, 1, 2, 3, 99])
def test_a_killed_removal_goes_on_and_until_then_the_dataset_is_whole_or_unknown(
    home: Home, problem_file: Write, moves: int
) -> None:
    made(home, problem_file)
    run = subprocess.run([sys.executable, "-c", KILLED_AFTER, str(home.root), str(moves)], check=False)
    assert run.returncode == -signal.SIGKILL
    if moves == 0:
        assert load_recipe(home, "homework")
        assert (home.dataset("homework") / "manifest.json").exists()
    else:
        assert "homework" not in dataset_names(home)
    remove_dataset(home, "homework")
    assert left_of(home, "homework") == []


def test_a_name_whose_removal_was_killed_can_be_imported_again(home: Home, problem_file: Write) -> None:
    made(home, problem_file)
    subprocess.run([sys.executable, "-c", KILLED_AFTER, str(home.root), "1"], check=False)
    recipe = import_dataset(home, problem_file(ROWS[:3]), "homework")
    build(home, recipe)
    assert not (home.rollouts("tiny-a", "homework")).exists()


def test_what_a_version_needs_is_not_removed(home: Home, problem_file: Write) -> None:
    made(home, problem_file, split="train")
    made(home, problem_file, "v0.1.0", split="train")
    create_version(home, "v0.2.0", parent="v0.1.0", adds=["homework"])
    before = {path for path in home.root.rglob("*")}
    with pytest.raises(InvalidInputError, match=r"version v0\.2\.0 adds it") as caught:
        remove_dataset(home, "homework")
    assert "rjepa data remove" in caught.value.cure
    with pytest.raises(InvalidInputError, match=r"version v0\.2\.0 grew from it"):
        remove_dataset(home, "v0.1.0")
    assert {path for path in home.root.rglob("*")} == before
    remove_dataset(home, "v0.2.0")
    remove_dataset(home, "homework")


def test_what_a_release_was_made_of_is_not_removed(home: Home, problem_file: Write) -> None:
    made(home, problem_file)
    folder = home.releases("tiny-a") / "r1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"dataset": "homework"}))
    with pytest.raises(InvalidInputError, match="release r1 of tiny-a"):
        remove_dataset(home, "homework")
    assert (home.dataset("homework") / "manifest.json").exists()


def test_a_dataset_that_is_being_worked_on_is_not_removed(home: Home, problem_file: Write) -> None:
    made(home, problem_file)
    with stage_lock(home, "rollouts", "tiny-a", "homework"), pytest.raises(BusyError, match="rollouts"):
        remove_dataset(home, "homework")
    assert (home.dataset("homework") / "manifest.json").exists()
    remove_dataset(home, "homework")


def test_a_dataset_that_comes_with_rjepa_keeps_its_recipe(home: Home) -> None:
    with pytest.raises(InvalidInputError, match="nothing was made"):
        plan_removal(home, "smoke")
    home.dataset("smoke").mkdir(parents=True)
    (home.dataset("smoke") / "problems.parquet").write_text("x")
    assert remove_dataset(home, "smoke").comes_with_rjepa
    assert not home.dataset("smoke").exists()
    assert os.listdir(home.root / "datasets") == []
