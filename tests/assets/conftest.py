"""One whole `rjepa demo` on the smoke dataset, made once for all tests; those that change it work on a copy."""

import shutil
from pathlib import Path

import pytest

from rjepa.home import Home

from .running import SMOKE, Ran, rjepa


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """The home that an uninterrupted demo made, and what it printed."""
    root = tmp_path_factory.mktemp("demo") / "home"
    ran = rjepa(root, "demo", *SMOKE)
    assert ran.code == 0, ran.stderr
    return root, ran


@pytest.fixture
def demo_copy(demo: tuple[Path, Ran], tmp_path: Path) -> Home:
    """A copy of the demo's home that a test may change."""
    shutil.copytree(demo[0], tmp_path / "home")
    return Home(tmp_path / "home")
