"""Feedback in a real headless Chromium: a vote, consent for one answer, one's own contributions, in two languages."""

import json

from playwright.sync_api import Page, expect

from rjepa.database import open_database
from rjepa.feedback.interactions import list_interactions
from rjepa.feedback.votes import list_votes
from rjepa.home import Home

from .test_accessibility import findings
from .test_chat_page import ask

SECRET = "Mia (mia@example.org) has 14 pens. How many has Tom?"


def test_a_vote_is_counted_and_words_are_kept_with_consent_alone(page: Page, address: str, home: Home) -> None:
    page.goto(address)
    ask(page, SECRET)
    box = page.locator(".feedback")
    expect(box.get_by_role("button", name="Right")).to_have_attribute("aria-pressed", "false")
    box.get_by_role("button", name="Right").click()
    expect(box.locator(".said")).to_have_text("Your vote is counted. None of your words are kept.")
    agree = box.get_by_role("checkbox")
    expect(agree).not_to_be_checked()
    expect(box.get_by_role("button", name="Keep it")).to_be_hidden()
    with open_database(home) as database:
        assert list_interactions(database) == []
        assert [vote.vote for vote in list_votes(database)] == ["up"]

    box.get_by_role("button", name="Wrong").click()
    expect(box.get_by_role("button", name="Wrong")).to_have_attribute("aria-pressed", "true")
    box.get_by_role("checkbox").check()
    assert findings(page) == []
    box.get_by_placeholder("A comment, if you like").fill("ask tom@example.org")
    box.get_by_role("button", name="Keep it").click()
    expect(box.locator(".said")).to_have_text("Kept, as you agreed.")
    with open_database(home) as database:
        (kept,) = list_interactions(database)
        (vote,) = list_votes(database)
    assert kept.content is not None and kept.content.statement.startswith("Mia (<EMAIL>)")
    assert (vote.vote, vote.comment) == ("down", "ask <EMAIL>")

    page.reload()
    expect(page.locator(".feedback .said")).to_have_text("Kept, as you agreed.")
    page.locator(".feedback").get_by_role("button", name="Delete").click()
    expect(page.locator(".feedback .said")).to_have_text("Deleted: an id and a date are left.")
    with open_database(home) as database:
        assert [one.content for one in list_interactions(database)] == [None]


def test_ones_contributions_are_shown_exported_and_deleted(page: Page, address: str, home: Home) -> None:
    page.goto(address)
    page.locator("#mine summary").click()
    expect(page.locator("#mine-list")).to_contain_text("Nothing of yours is kept.")
    page.locator("#mine summary").click()
    ask(page, SECRET)
    page.get_by_role("button", name="Right").click()
    page.locator(".feedback").get_by_role("checkbox").check()
    page.get_by_role("button", name="Keep it").click()
    expect(page.locator(".feedback .said")).to_have_text("Kept, as you agreed.")

    page.locator("#mine summary").click()
    mine = page.locator("#mine-list")
    expect(mine).to_contain_text("Answers of yours that are kept: 1.")
    expect(mine.locator("li .text")).to_have_text("Mia (<EMAIL>) has 14 pens. How many has Tom?")
    assert findings(page) == []
    with page.expect_download() as download:
        mine.get_by_role("link", name="Export").click()
    exported = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert [one["vote"] for one in exported] == ["up"]
    page.on("dialog", lambda dialog: dialog.accept())
    mine.get_by_role("button", name="Delete all").click()
    expect(mine).to_contain_text("Nothing of yours is kept.")
    mine.get_by_role("checkbox").check()
    expect(mine.get_by_role("checkbox")).to_be_checked()
    page.locator("#mine summary").click()
    page.locator("#new").click()
    ask(page, "What else?")
    page.get_by_role("button", name="Right").click()
    page.locator(".feedback").get_by_role("checkbox").check()
    page.get_by_role("button", name="Keep it").click()
    expect(page.locator(".feedback .said")).to_contain_text("opted out")


def test_a_phone_in_french_says_what_is_kept(phone: Page, address: str) -> None:
    phone.goto(address)
    ask(phone, "Combien ?")
    phone.get_by_role("button", name="Fausse").click()
    expect(phone.locator(".feedback .said")).to_have_text("Votre vote est compté. Aucun de vos mots n'est conservé.")
    expect(phone.locator(".consent label")).to_contain_text("les noms, non")
    assert phone.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    phone.locator("#mine summary").click()
    expect(phone.locator("#mine-list")).to_contain_text("Rien de vous n'est conservé.")
    assert findings(phone) == []


def test_an_operator_sees_the_funnel_and_empties_the_queue(page: Page, address: str) -> None:
    page.goto(f"{address}/monitor")
    expect(page.locator("#feedback-box")).to_contain_text("No answer is kept yet.")
    asked = {"model": "tiny-a", "messages": [{"role": "user", "content": "How many has Tom?"}]}
    page.request.post(f"{address}/v1/chat/completions", data={**asked, "rjepa": {"consent": True}})
    queue = page.locator("#feedback-box .queue li")
    for _ in range(40):  # a selection stands for a while
        if queue.count():
            break
        page.get_by_role("button", name="Refresh").click()
        page.wait_for_timeout(500)
    expect(queue).to_have_count(1)
    expect(queue).to_contain_text("How many has Tom?")
    expect(page.locator("#feedback-box table")).to_contain_text("no vote (1)")
    assert findings(page) == []
    queue.get_by_role("button", name="Right: learn from it").click()
    expect(page.locator("#said")).to_have_text("Accepted.")
    expect(queue).to_have_count(0)
    expect(page.locator("#feedback-box table")).to_contain_text("accepted by a person (1)")
