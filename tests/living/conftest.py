"""A home of its own for each test; and one that serves a release of a small version, and learns from one answer on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rjepa.database import Database, open_database
from rjepa.home import Home
from rjepa.living.settings import change_settings
from tests.datasets.growing import first_version
from tests.releases.conftest import Publisher


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def database(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.delenv("RJEPA_DATABASE_URL", raising=False)
    with open_database(home) as database:
        change_settings(database, {"min_interactions": 1, "enabled": True}, who="test")
        yield database


@pytest.fixture
def publisher(home: Home, tmp_path: Path) -> Publisher:
    """A home that serves a release of v0.1.0."""
    first_version(home)
    publisher = Publisher(home, tmp_path)
    publisher.publish(1, dataset="v0.1.0")
    return publisher
