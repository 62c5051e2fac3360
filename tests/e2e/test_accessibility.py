"""What axe-core (tests/e2e/axe) finds on both pages in their states and themes: nothing, best practices included."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from rjepa.home import Home

from ..serving.fakes import publish
from .conftest import open_page

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()


def findings(page: Page) -> list[tuple[str, str, str]]:
    """Rule, impact and the first node of everything that axe finds, best practices included."""
    page.evaluate(AXE)
    found: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [(rule["id"], rule["impact"], rule["nodes"][0]["html"][:200]) for rule in found["violations"]]


def ask(page: Page, question: str, answers: int) -> None:
    page.locator("#question").fill(question)
    page.keyboard.press("Enter")
    expect(page.locator(".reply .facts, .reply.error, .reply .actions")).to_have_count(answers)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_the_chat_page(browser: Browser, address: str, theme: str) -> None:
    for page in open_page(browser, color_scheme=theme):
        page.goto(address)
        expect(page.locator("#examples button")).to_have_count(1)
        assert findings(page) == []
        page.locator("#more summary").click()
        page.locator("#changes summary").click()
        page.locator("#key-box summary").click()
        assert findings(page) == []
        for box in ("#more", "#changes", "#key-box"):
            page.locator(f"{box} summary").first.click()
        ask(page, "a question", 1)
        for box in page.locator(".reply details").all():
            box.evaluate("node => { node.open = true; }")
        expect(page.locator(".compare table")).to_have_count(1)
        ask(page, "a foreign problem", 2)
        assert findings(page) == []
        page.locator("#question").fill("long")
        page.keyboard.press("Enter")
        expect(page.locator(".reply.error")).to_have_count(1)
        page.locator("#question").fill("endless")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        assert findings(page) == []
        page.keyboard.press("Escape")
        expect(page.get_by_text("You stopped this answer.")).to_be_visible()
        assert findings(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_the_monitor(browser: Browser, address: str, home: Home, theme: str) -> None:
    publish(home, 2)
    for page in open_page(browser, color_scheme=theme, locale="fr-FR"):
        page.goto(f"{address}/monitor")
        expect(page.locator("#sections section").first).to_be_visible()
        assert findings(page) == []
        for box in page.locator("details").all():
            box.evaluate("node => { node.open = true; }")
        assert findings(page) == []
