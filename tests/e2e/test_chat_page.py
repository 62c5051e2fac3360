"""The chat page in a real headless Chromium, against the service over a real socket."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from rjepa.home import Home
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.question import Question
from serving.app import create_app
from serving.settings import ServiceSettings
from tests import tiny_release

from ..serving.fakes import FakeEngine, fake_loader, publish, running, wait_until

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
KEY = "d41d8cd98f00b204e9800998ecf8427e"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    publish(home, 1)
    return home


@pytest.fixture
def address(home: Home) -> Iterator[str]:
    settings = ServiceSettings(home=home.root, reload_seconds=0.05, _env_file=None)
    app = create_app(settings, fake_loader(home))
    with running(app) as address:
        wait_until(lambda: app.state.host.state.engine is not None)
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in English that fails the test on any error in its console, other hosts' requests included."""
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(10_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: None if "127.0.0.1" in request.url else problems.append(request.url))
    yield page
    context.close()
    expected = "Failed to load resource"  # what Chromium says of any 4xx reply
    assert [problem for problem in problems if expected not in problem] == []


def test_an_example_is_answered_with_steps_energies_and_candidates(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#status")).to_contain_text("tiny-a")
    page.locator("#candidates").fill("3")
    page.get_by_role("button", name="How many has Tom?").click()
    reply = page.locator(".reply")
    expect(reply.locator("> .steps li")).to_have_count(3)
    expect(reply.locator("> .steps .final")).to_have_text("Answer: 17")
    expect(reply.locator("> .steps [role=img]").first).to_have_attribute("aria-label", "energy 0.40")
    levels = reply.locator(".bar").evaluate_all("bars => bars.map(bar => bar.style.getPropertyValue('--level'))")
    assert len(levels) == 3 * 4 and max(map(float, levels)) == 1.0
    expect(reply.locator(".p-correct")).to_have_text("P(correct) 75%")
    expect(reply.locator(".why")).to_contain_text("best score. It is 1.00 ahead of candidate 2")
    reply.get_by_text("The 3 candidates").click()
    expect(reply.locator(".candidate")).to_have_count(3)
    expect(reply.locator(".candidate.chosen")).to_contain_text("chosen")
    expect(reply.locator(".candidate").nth(1)).to_contain_text("log-probability -4.50")


def test_an_answer_to_a_foreign_problem_says_so_and_tells_no_probability(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#question").fill("a foreign problem")
    page.keyboard.press("Enter")
    reply = page.locator(".reply")
    expect(reply.locator(".why")).to_contain_text("R-JEPA knows no problems like this one: it was left out")
    expect(reply.locator(".p-correct")).to_have_count(0)
    reply.get_by_text("The 8 candidates").click()
    expect(reply.locator(".candidate").first).to_contain_text("P(correct) –")


def test_the_page_is_used_with_the_keyboard_alone(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#question").focus()
    page.keyboard.type("line one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("line two")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#count")).to_be_hidden()
    page.locator("#question").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".asked")).to_have_text("line one\nline two")
    expect(page.locator(".reply .final")).to_have_text("Answer: 17")
    expect(page.locator(".bar")).to_have_count(0)
    expect(page.locator("#question")).to_be_focused()


def test_steps_are_shown_as_they_come(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#question").fill("drip")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".steps li")).to_have_count(1)
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.locator(".reply > .steps li")).to_have_count(3)
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_an_answer_can_be_stopped(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#question").fill("endless")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".reply")).to_contain_text("Stopped.")


def test_an_error_is_shown_with_its_cure_and_the_next_question_works(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#question").fill("long")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").locator(".problem")).to_contain_text("4000 tokens")
    expect(page.get_by_role("alert").locator(".cure")).to_have_text("shorten it")
    page.locator("#question").fill("short")
    page.keyboard.press("Enter")
    expect(page.locator(".reply .final")).to_have_count(1 + 8)


def test_more_candidates_than_allowed_are_not_sent(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#candidates").fill("10000")
    page.locator("#question").fill("x")
    page.keyboard.press("Enter")
    expect(page.locator(".asked")).to_have_count(0)


def test_what_people_and_models_write_is_never_run(page: Page, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "<img src=x onerror='window.ran=1'><script>window.ran=1</script>"
    answer = FakeEngine._answer

    def hostile(self: FakeEngine, question: Question) -> Answer:
        made = answer(self, question)
        return made.model_copy(
            update={"text": f"Step 1: {evil}\nAnswer: {evil}\n", "steps": [evil], "final_answer": evil}
        )

    monkeypatch.setattr(FakeEngine, "_answer", hostile)
    page.goto(address)
    page.locator("#question").fill(evil)
    page.keyboard.press("Enter")
    expect(page.locator(".reply .final").first).to_have_text(f"Answer: {evil}")
    assert page.evaluate("window.ran") is None
    assert page.locator(".reply img").count() == 0


def test_the_page_speaks_french_and_redraws_what_is_there(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#question").fill("x")
    page.keyboard.press("Enter")
    expect(page.locator(".reply .final").first).to_have_text("Answer: 17")
    page.get_by_role("button", name="Français").click()
    expect(page.locator(".reply .final").first).to_have_text("Réponse: 17")
    expect(page.locator(".why")).to_contain_text("Pourquoi celui-ci : il a le meilleur score. Il devance de 1,00")
    expect(page.get_by_role("button", name="Envoyer")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Envoyer")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "fr"


def test_both_languages_have_the_same_words() -> None:
    source = (Path(__file__).parents[2] / "serving/static/text.js").read_text()
    english, french = source.split("  fr: {")[0], source.split("  fr: {")[1].split("let language")[0]
    names = [set(re.findall(r'(?:^|, )\s*(\w+): "', part, re.MULTILINE)) for part in (english, french)]
    assert names[0] == names[1] and len(names[0]) > 40


def test_dark_and_light_can_be_chosen(page: Page, address: str) -> None:
    page.goto(address)
    background = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(background)
    page.locator("#theme").click()
    after = page.evaluate(background)
    assert before != after
    page.reload()
    assert page.evaluate(background) == after


def test_a_phone_shows_no_sideways_scroll(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 340, "height": 640})
    page.goto(address)
    page.locator("#question").fill("x" * 200)
    page.keyboard.press("Enter")
    expect(page.locator(".reply .final").first).to_have_text("Answer: 17")
    page.get_by_text("The 8 candidates").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 340


def test_a_service_with_a_key_asks_for_it(page: Page, home: Home) -> None:
    settings = ServiceSettings(home=home.root, reload_seconds=0.05, api_key=KEY, _env_file=None)
    with running(create_app(settings, fake_loader(home))) as address:
        page.goto(address)
        page.get_by_label("API key of this service").fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#status")).to_contain_text("tiny-a")
        page.get_by_role("button", name="How many has Tom?").click()
        expect(page.locator(".reply .final").first).to_have_text("Answer: 17")


def test_without_a_release_the_page_names_the_cure(page: Page, tmp_path: Path) -> None:
    home = Home(tmp_path / "empty")
    settings = ServiceSettings(home=home.root, reload_seconds=0.05, _env_file=None)
    with running(create_app(settings, fake_loader(home))) as address:
        page.goto(address)
        expect(page.locator("#status")).to_contain_text("make demo")
        publish(home, 1)
        expect(page.get_by_role("button", name="How many has Tom?")).to_be_visible()


def test_a_real_release_answers_on_the_page(page: Page, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("real")
    home = Home(root / "home")
    tiny_release.publish(
        home, tiny_release.register_student(home, tiny_release.taught_folder(tmp_path_factory)), root / "sources"
    )
    settings = ServiceSettings(home=home.root, llm=tiny_release.TAG, reload_seconds=0.05, _env_file=None)
    app = create_app(settings)
    with running(app) as address:
        wait_until(lambda: app.state.host.state.engine is not None, 60)
        page.goto(address)
        expect(page.locator("#examples button").first).to_be_visible()
        page.locator("#question").fill(tiny_release.STATEMENT)
        page.keyboard.press("Enter")
        expect(page.locator(".reply > .steps .bar").first).to_be_visible()
        expect(page.locator(".reply .why")).to_contain_text("Why this one")
        expect(page.locator(".candidate")).to_have_count(8)
