"""One tiny release for all modes, and one that speaks and guides, too."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rjepa.engine import Engine
from rjepa.home import Home
from tests.speaking_release import publish_speaking
from tests.tiny_release import TAG, publish, register_student, taught_folder


@pytest.fixture(scope="session")
def bare_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    root = tmp_path_factory.mktemp("reasoning")
    home = Home(root / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    publish(home, student, root / "sources")
    return Engine.load(home, TAG, "cpu")


@pytest.fixture
def engine(bare_engine: Engine) -> Engine:
    """Of a release without decoders."""
    return bare_engine


Change = Callable[..., None]
"""Takes fields of a calibration."""


@pytest.fixture
def recalibrate(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Change:
    """Changes fields of the release's calibration, for one test."""

    def change(**fields: Any) -> None:
        changed = engine._parts.calibration.model_copy(update=fields)
        monkeypatch.setattr(engine, "_parts", replace(engine._parts, calibration=changed))

    return change


@pytest.fixture(scope="session")
def speaking_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Of a release with a decoder that learnt from a few chains, as verbaliser and as guidance."""
    root = tmp_path_factory.mktemp("speaking")
    home = Home(root / "home")
    publish_speaking(home, register_student(home, taught_folder(tmp_path_factory)), root)
    return Engine.load(home, TAG, "cpu")
