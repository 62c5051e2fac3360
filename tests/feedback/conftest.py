from collections.abc import Iterator
from pathlib import Path

import pytest

from rjepa.database import Database, open_database
from rjepa.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def database(home: Home, each_database: str) -> Iterator[Database]:
    with open_database(home) as database:
        yield database


@pytest.fixture
def sqlite(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.delenv("RJEPA_DATABASE_URL", raising=False)
    with open_database(home) as database:
        yield database
