"""A service over a fake engine, in process (`client`) and over a real socket (`address`)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from rjepa.home import Home
from serving.app import create_app
from serving.settings import ServiceSettings

from .fakes import FakeEngine, fake_loader, publish, running, wait_until


@pytest.fixture(autouse=True)
def _no_user_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests read neither this machine's `.env` nor its key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RJEPA_API_KEY", raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    publish(home, 1)
    return home


@pytest.fixture
def engines() -> list[FakeEngine]:
    """Every engine that was loaded, oldest first."""
    return []


@pytest.fixture
def settings(home: Home) -> ServiceSettings:
    return ServiceSettings(home=home.root, reload_seconds=0.05, max_waiting=2)


@pytest.fixture
def client(settings: ServiceSettings, home: Home, engines: list[FakeEngine]) -> Iterator[TestClient]:
    app = create_app(settings, fake_loader(home, engines))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        wait_until(lambda: client.get("/v1/ready").status_code == 200)
        yield client


@pytest.fixture
def address(settings: ServiceSettings, home: Home, engines: list[FakeEngine]) -> Iterator[str]:
    app = create_app(settings, fake_loader(home, engines))
    with running(app) as address:
        wait_until(lambda: app.state.host.state.engine is not None)
        yield address
