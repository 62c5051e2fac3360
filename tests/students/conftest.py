"""One tiny student of each architecture for the whole run."""

import shutil
from pathlib import Path

import pytest

from rjepa.home import Home
from rjepa.students.loading import Student
from tests.students.tiny import open_tiny, taught_folder, write_student


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_student(tmp_path_factory.mktemp("qwen3"))


@pytest.fixture(scope="session", params=["qwen3", "llama", "gpt2"])
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Student:
    folder = write_student(tmp_path_factory.mktemp(request.param), request.param)
    return open_tiny(Home(tmp_path_factory.mktemp("home")), folder)


@pytest.fixture(scope="session")
def qwen(qwen_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Student:
    return open_tiny(Home(tmp_path_factory.mktemp("home")), qwen_folder)


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Student:
    return open_tiny(Home(tmp_path_factory.mktemp("home")), taught_folder(tmp_path_factory.getbasetemp()))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def folder(qwen_folder: Path, tmp_path: Path) -> Path:
    """A copy of a model folder that a test may damage."""
    return Path(shutil.copytree(qwen_folder, tmp_path / "model"))
