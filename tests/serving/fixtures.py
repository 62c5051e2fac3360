"""Fixtures of every test of the service, over HTTP or in a browser."""

from pathlib import Path

import pytest

from rjepa.home import Home

from .fakes import publish


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
