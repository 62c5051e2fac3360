"""A service over a fake engine, in process (`client`) and over a real socket (`address`)."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from rjepa.home import Home
from rjepa.students.loading import Student
from serving.app import create_app
from serving.settings import ServiceSettings
from tests.tiny_release import TAG, register_student, taught_folder
from tests.tiny_release import publish as publish_tiny

from .fakes import FakeEngine, fake_loader, publish, ready, running, wait_for_release
from .fixtures import _no_user_settings as _no_user_settings
from .fixtures import home as home


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
    with ready(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def shared_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One service for all tests of a module: for requests that are refused, or change nothing."""
    home = Home(tmp_path_factory.mktemp("home"))
    publish(home, 1)
    settings = ServiceSettings(home=home.root, reload_seconds=0.05, max_waiting=2, api_key=None, _env_file=None)
    app = create_app(settings, fake_loader(home))
    with ready(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def address(settings: ServiceSettings, home: Home, engines: list[FakeEngine]) -> Iterator[str]:
    app = create_app(settings, fake_loader(home, engines))
    with running(app) as address:
        wait_for_release(app)
        yield address


@pytest.fixture(scope="session")
def tiny_release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Student]:
    """A home with a release of a student that was taught for a few seconds. Read only: its tests share it."""
    root = tmp_path_factory.mktemp("tiny-release")
    home = Home(root / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    publish_tiny(home, student, root / "sources")
    return home, student


@pytest.fixture(scope="module")
def tiny_service(tiny_release: tuple[Home, Student]) -> Iterator[str]:
    """The address of the real service over that release."""
    settings = ServiceSettings(home=tiny_release[0].root, llm=TAG, reload_seconds=0.05, api_key=None, _env_file=None)
    app = create_app(settings)
    with running(app) as address:
        wait_for_release(app)
        yield address
