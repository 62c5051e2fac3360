"""The same small dataset and taught student as the latents' tests, and a student of each kind of cache."""

import pytest

from rjepa.home import Home
from rjepa.students.loading import Student
from tests.latents.conftest import home, taught
from tests.students.architectures import write_model
from tests.students.tiny import open_tiny

__all__ = ["home", "student", "taught"]


@pytest.fixture(scope="module", params=["taught", "gpt_neox", "gemma2"])
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Student:
    """Of each kind of cache: shared prefixes, transformers' own, and one whose attention forgets (32 tokens)."""
    if request.param == "taught":
        found: Student = request.getfixturevalue("taught")
        return found
    folder = write_model(tmp_path_factory.mktemp(request.param) / "model", request.param)
    return open_tiny(Home(tmp_path_factory.mktemp("home")), folder)
