"""One whole `rjepa demo` on the smoke dataset, made once for all tests; those that change it work on a copy."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from rjepa.home import Home
from tests.once import once_for_all

from .running import SMOKE, Ran, rjepa


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """The home that an uninterrupted demo made, and what it printed. Read only: its tests share it."""

    def make(folder: Path) -> None:
        ran = rjepa(folder / "home", "demo", *SMOKE)
        assert ran.code == 0, ran.stderr
        (folder / "ran.json").write_text(json.dumps(asdict(ran)))

    folder = once_for_all(tmp_path_factory, "demo", make)
    return folder / "home", Ran(**json.loads((folder / "ran.json").read_text()))


@pytest.fixture
def demo_copy(demo: tuple[Path, Ran], tmp_path: Path) -> Home:
    """A copy of the demo's home that a test may change."""
    shutil.copytree(demo[0], tmp_path / "home")
    return Home(tmp_path / "home")
