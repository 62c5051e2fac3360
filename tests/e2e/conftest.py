"""A headless Chromium, pages in it that fail on any error or foreign request, and a service over a real socket."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from rjepa.home import Home
from serving.app import create_app
from serving.settings import ServiceSettings

from ..patience import PATIENCE
from ..serving.fakes import running, wait_for_release
from ..serving.fixtures import _no_user_settings as _no_user_settings
from ..serving.fixtures import home as home
from .engine import pages_loader

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

expect.set_options(timeout=1000 * PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser a file. It has a loop that runs in this thread until it is closed: what came after could run none."""
    if CHROMIUM is None:
        pytest.skip("Debian's chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def address(home: Home) -> Iterator[str]:
    # Nothing listens at port 1: Dagster is away.
    settings = ServiceSettings(home=home.root, reload_seconds=0.05, dagster_url="http://127.0.0.1:1", _env_file=None)
    app = create_app(settings, pages_loader(home))
    with running(app) as address:
        wait_for_release(app)
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in English at a desk."""
    yield from open_page(browser)


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    """A page on a phone, in French and dark."""
    yield from open_page(
        browser, locale="fr-FR", color_scheme="dark", viewport={"width": 390, "height": 780}, has_touch=True
    )


def open_page(browser: Browser, **options: object) -> Iterator[Page]:
    """A page that fails the test on any error in its console and on any request to another host."""
    context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on(
        "request",
        lambda request: (
            None if "127.0.0.1" in request.url or request.url.startswith("data:") else problems.append(request.url)
        ),
    )
    yield page
    context.close()
    expected = "Failed to load resource"  # what Chromium says of any 4xx reply
    assert [problem for problem in problems if expected not in problem] == []
