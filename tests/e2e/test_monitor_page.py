"""The monitor in a real headless Chromium, beside a Dagster that answers as the real one did."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from rjepa.database import open_database
from rjepa.home import Home
from rjepa.living.settings import read_settings
from rjepa.releases.pointer import current_release
from serving.app import create_app
from serving.settings import ServiceSettings

from ..serving.dagster_server import Dagster, serve_dagster
from ..serving.fakes import publish, running, wait_for_release
from .engine import pages_loader

KEY = "d41d8cd98f00b204e9800998ecf8427e"


@pytest.fixture
def dagster() -> Iterator[Dagster]:
    with serve_dagster() as dagster:
        yield dagster


@pytest.fixture
def address(home: Home, dagster: Dagster) -> Iterator[str]:
    publish(home, 2)
    settings = ServiceSettings(home=home.root, reload_seconds=0.05, dagster_url=dagster.url, _env_file=None)
    app = create_app(settings, pages_loader(home))
    with running(app) as address:
        wait_for_release(app)
        yield address


def test_what_there_is_is_shown_and_what_is_not_is_left_out(page: Page, address: str) -> None:
    page.goto(f"{address}/monitor")
    expect(page.get_by_role("heading", name="What is served")).to_be_visible()
    expect(page.get_by_role("region", name="Runs, table")).to_contain_text("1 of 3 steps")
    expect(page.locator("#status")).to_contain_text("As of")
    names = page.get_by_role("heading", level=2).all_inner_texts()
    assert "Teachers" not in names and "Energy by domain" not in names
    chart = page.get_by_role("img", name="Accuracy of each release")
    assert chart.locator("circle").count() == 2
    page.get_by_text("As a table").click()
    expect(page.get_by_role("region", name="Accuracy over releases, table").locator("tbody tr")).to_have_count(2)


def test_an_operator_rolls_back_with_one_click_and_a_yes(page: Page, address: str, home: Home) -> None:
    before = current_release(home, "tiny-a")
    page.goto(f"{address}/monitor")
    page.get_by_text("Serve another release").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Serve this one").click()
    expect(page.locator("#said")).to_contain_text("is served now.")
    after = current_release(home, "tiny-a")
    assert after != before
    expect(page.locator(".moves > li").first).to_contain_text("Switched to")


def test_a_no_changes_nothing(page: Page, address: str, home: Home) -> None:
    before = current_release(home, "tiny-a")
    page.goto(f"{address}/monitor")
    page.get_by_text("Serve another release").click()
    page.on("dialog", lambda dialog: dialog.dismiss())
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="Serve this one").click()
    with page.expect_response("**/v1/monitor/sections*"):
        page.get_by_role("button", name="Refresh").click()
    assert not [url for url in asked if url.endswith("/rollback")] and current_release(home, "tiny-a") == before


def test_learning_is_turned_on_and_off_from_the_page(page: Page, address: str, home: Home) -> None:
    page.goto(f"{address}/monitor")
    expect(page.locator("#learning-section")).to_contain_text("Learning every night is off.")
    page.get_by_role("button", name="Turn learning on").click()
    expect(page.locator("#said")).to_have_text("Learning is on.")
    with open_database(home) as database:
        assert read_settings(database).enabled
    page.get_by_role("button", name="Turn learning off").click()
    expect(page.locator("#learning-section")).to_contain_text("Learning every night is off.")
    with open_database(home) as database:
        assert not read_settings(database).enabled


def test_a_night_is_begun_from_the_page(page: Page, address: str) -> None:
    page.goto(f"{address}/monitor")
    page.get_by_role("button", name="Begin a night now").click()
    expect(page.locator("#said")).to_contain_text("is a night.")


def test_a_dataset_is_created_from_the_page(page: Page, address: str, dagster: Dagster) -> None:
    page.goto(f"{address}/monitor")
    page.get_by_text("Create a dataset").click()
    page.get_by_label("New version (vX.Y.Z)").fill("smoke")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.locator("#said")).to_have_text("Run eb47a618 makes smoke.")
    assert dagster.partitions == ["smoke"]
    page.get_by_label("New version (vX.Y.Z)").fill("no-such-thing")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.locator("#said .problem")).to_contain_text("no-such-thing")


def test_a_service_with_a_key_shows_nothing_before_it(page: Page, home: Home, dagster: Dagster) -> None:
    settings = ServiceSettings(
        home=home.root, reload_seconds=0.05, api_key=KEY, dagster_url=dagster.url, _env_file=None
    )
    with running(create_app(settings, pages_loader(home))) as address:
        page.goto(f"{address}/monitor")
        expect(page.locator("#key-said")).to_have_text("This service asks for a key.")
        expect(page.locator("#sections section")).to_have_count(0)
        page.get_by_label("API key of this service").fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        expect(page.get_by_role("heading", name="What is served")).to_be_visible()


def test_a_phone_shows_no_sideways_scroll(phone: Page, address: str) -> None:
    phone.goto(f"{address}/monitor")
    expect(phone.get_by_role("heading", name="Ce qui est servi")).to_be_visible()
    for box in phone.locator("#sections details").all():
        box.evaluate("node => { node.open = true; }")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
