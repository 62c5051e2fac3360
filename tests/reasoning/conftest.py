"""One tiny release for all modes."""

import pytest

from rjepa.engine import Engine
from rjepa.home import Home
from tests.tiny_release import TAG, publish, register_student, taught_folder


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    root = tmp_path_factory.mktemp("reasoning")
    home = Home(root / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    publish(home, student, root / "sources")
    return Engine.load(home, TAG, "cpu")
