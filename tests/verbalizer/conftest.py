from pathlib import Path

import pytest

from rjepa.home import Home
from tests.tiny_release import register_student, taught_folder
from tests.verbalizer.small import Small, config, small


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Small:
    home = Home(tmp_path_factory.mktemp("verbalizer") / "home")
    return small(register_student(home, taught_folder(tmp_path_factory)))


@pytest.fixture(scope="session")
def trained(material: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A latent-only decoder that has learnt its few chains."""
    folder = tmp_path_factory.mktemp("decoder")
    material.train(config(updates=150), folder)
    return folder
