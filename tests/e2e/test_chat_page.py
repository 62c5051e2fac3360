"""The chat page in a real headless Chromium, against the service over a real socket."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from rjepa.home import Home
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.question import Question
from serving.app import create_app
from serving.settings import ServiceSettings
from tests import tiny_release
from tests.speaking_release import publish_speaking

from ..serving.fakes import FakeEngine, publish, running, wait_for_release
from .conftest import open_page
from .engine import pages_loader
from .test_accessibility import findings

KEY = "d41d8cd98f00b204e9800998ecf8427e"


def ask(page: Page, question: str) -> None:
    page.locator("#question").fill(question)
    page.keyboard.press("Enter")


def choose(page: Page, mode: str) -> None:
    page.get_by_label("Mode").select_option(mode)


def is_in_sight(page: Page, selector: str) -> bool:
    """Whether the last such element can be seen whole: inside the conversation, and not under anything."""
    return bool(
        page.locator(selector).last.evaluate(
            """(node) => {
              const box = node.getBoundingClientRect();
              const room = document.getElementById("main").getBoundingClientRect();
              const top = document.elementFromPoint(box.left + 4, box.top + box.height / 2);
              return box.top >= room.top - 1 && box.bottom <= room.bottom + 1 && node.contains(top);
            }"""
        )
    )


def test_a_carried_r_jepa_is_named_in_the_head_in_both_languages(page: Page, phone: Page, address: str) -> None:
    def carry(route: Route) -> None:
        info = route.fetch().json()
        info["release"]["carried"] = {"source": "tiny-b", "share": 0.05}
        route.fulfill(json=info)

    for opened, text in (
        (page, "tiny-a, R-JEPA carried from tiny-b (adapter, 5 % of latents), release of"),
        (phone, "tiny-a, R-JEPA repris de tiny-b (adaptateur, 5 % des latents), version du"),
    ):
        opened.route("**/v1/info", carry)
        opened.goto(address)
        expect(opened.locator("#status")).to_contain_text(text)


def test_an_example_is_answered_with_steps_energies_and_a_sentence(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#status")).to_contain_text("tiny-a, release of")
    page.get_by_label("Candidates", exact=True).fill("3")
    page.get_by_role("button", name="How many has Tom?").click()
    reply = page.locator(".reply")
    expect(reply.locator("> .steps li")).to_have_count(3)
    expect(reply.locator("> .steps .final .text")).to_have_text("Answer: 17")
    expect(reply.locator(".p-correct")).to_contain_text(
        "a chance of 75% of being right. Of 100 answers like it, about 75"
    )
    expect(reply.locator(".p-correct")).to_contain_text("off by 2.1 points on average")
    expect(reply.locator(".why")).to_contain_text("best score. It is 1.00 ahead of candidate 2")


def test_bars_are_on_the_scale_of_right_steps_and_the_first_doubtful_step_is_marked(page: Page, address: str) -> None:
    page.goto(address)
    ask(page, "x")
    meters = page.locator(".reply > .steps").get_by_role("meter")
    expect(meters).to_have_count(3)
    texts = meters.evaluate_all("nodes => nodes.map(node => node.getAttribute('aria-valuetext'))")
    assert texts[0] == "More surprising than 40% of right steps (energy 0.40)"
    levels = page.locator(".reply > .steps .bar").evaluate_all(
        "bars => bars.map(bar => +bar.style.getPropertyValue('--level'))"
    )
    assert levels == pytest.approx([0.4, 0.8, 0.2])
    expect(page.locator(".doubtful")).to_have_count(1)
    expect(page.locator(".doubtful")).to_contain_text("Tom has 19 - 2 = 17")
    expect(page.locator(".doubtful .mark")).to_have_text("First doubtful step")
    expect(page.locator("#live")).to_contain_text("being right. First doubtful step: Tom has 19 - 2 = 17.")


def test_candidates_stand_side_by_side(page: Page, address: str) -> None:
    page.goto(address)
    ask(page, "x")
    page.get_by_text("Compare the 8 candidates").click()
    table = page.get_by_role("region", name="Candidates side by side")
    expect(table.locator("thead th")).to_have_count(3)  # those that wrote the same share a column
    expect(table.locator("thead th").first).to_contain_text("Candidates 1, 4, 7")
    expect(table.locator("thead th.chosen")).to_contain_text("17")
    expect(table.locator("tbody tr").first).to_contain_text("P(correct)")
    expect(table.locator("tr.step").first.get_by_role("meter")).to_have_count(3)


def test_the_conversation_is_sent_and_survives_a_reload(page: Page, address: str) -> None:
    page.goto(address)
    ask(page, "first question")
    expect(page.locator(".reply .facts")).to_have_count(1)
    page.reload()
    expect(page.locator(".asked")).to_have_text("You asked: first question")
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "second question")
    body = json.loads(sent.value.post_data or "")
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"].startswith("Step 1: Mia has 14 + 5 = 19")
    expect(page.locator(".reply .final")).to_have_count(2)
    assert is_in_sight(page, ".turn:last-child .final")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    page.reload()
    expect(page.locator("#welcome")).to_be_visible()


def test_what_comes_last_is_never_under_the_composer(page: Page, address: str) -> None:
    page.goto(address)
    for number in range(3):
        ask(page, f"question {number}")
        expect(page.locator(".reply .facts")).to_have_count(number + 1)
        assert is_in_sight(page, ".turn:last-child .final")
    ask(page, "long")
    expect(page.locator(".reply.error")).to_be_visible()
    assert is_in_sight(page, ".reply.error .problem") and is_in_sight(page, ".reply.error .cure")
    page.locator("#question").fill("")
    ask(page, "endless")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()
    assert is_in_sight(page, ".turn:last-child .note")
    page.locator("#more summary").click()
    root = "document.scrollingElement.scrollHeight - document.scrollingElement.clientHeight"
    assert page.evaluate(root) == 0, "the page itself scrolls, and its head goes out of sight"


def test_an_answer_to_a_foreign_problem_says_so_first_and_draws_no_bars(page: Page, address: str) -> None:
    page.goto(address)
    ask(page, "a foreign problem")
    first = page.locator(".reply > *").first
    expect(first).to_contain_text("R-JEPA knows no problems like this one.")
    expect(page.locator(".p-correct, .bar")).to_have_count(0)
    page.get_by_text("Compare the 8 candidates").click()
    expect(page.locator("tr.step")).to_have_count(2)
    expect(page.locator(".bar")).to_have_count(0)


def judgement(*, familiar: bool) -> dict[str, object]:
    """What POST /v1/rjepa/score replies to one chain."""
    steps = [{"text": "", "energy": energy} for energy in (0.3, 0.9)]
    chain = {"steps": steps, "answer_energy": 0.1, "p_correct": 0.6 if familiar else None}
    return {"chains": [chain], "familiar": familiar}


@pytest.mark.parametrize("familiar", [True, False])
def test_rjepa_reads_what_mode_off_wrote_and_warns_of_a_foreign_problem(
    page: Page, address: str, familiar: bool
) -> None:
    page.route("**/v1/rjepa/score", lambda route: route.fulfill(json=judgement(familiar=familiar)))
    page.goto(address)
    choose(page, "off")
    with page.expect_request("**/v1/rjepa/score") as sent:
        ask(page, "a question")
    assert json.loads(sent.value.post_data or "")["chains"][0].endswith("Answer: 17\n")
    first = page.locator(".reply > *").first
    if familiar:
        expect(first).to_contain_text("R-JEPA read the answer afterwards")
        expect(page.locator(".reply > .steps .bar")).to_have_count(3)
        expect(page.locator(".p-correct")).to_contain_text("a chance of 60%")
    else:
        expect(first).to_contain_text("R-JEPA knows no problems like this one.")
        expect(page.locator(".bar, .p-correct")).to_have_count(0)


def test_mode_off_says_so_where_nobody_read_the_answer(page: Page, address: str) -> None:
    page.route("**/v1/rjepa/score", lambda route: route.fulfill(status=404, json={}))
    page.goto(address)
    choose(page, "off")
    expect(page.get_by_label("Candidates", exact=True)).to_have_count(0)
    ask(page, "a foreign problem")
    expect(page.locator(".reply > *").first).to_contain_text("R-JEPA did not read this answer.")
    expect(page.locator(".bar")).to_have_count(0)


def test_the_page_is_used_with_the_keyboard_alone(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_label("Candidates", exact=True)).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Go to the question")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("line one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("line two")
    page.keyboard.press("Enter")
    expect(page.locator(".asked")).to_have_text("You asked: line one\nline two")
    expect(page.locator(".reply .final")).to_have_count(1)
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("endless")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()


def test_steps_are_shown_and_spoken_as_they_come(page: Page, address: str) -> None:
    page.goto(address)
    choose(page, "off")
    ask(page, "drip")
    expect(page.locator(".steps li")).to_have_count(1)
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    live = page.get_by_role("log", name="Steps as they are written")
    expect(live).to_contain_text("Step 1: Mia has 14 + 5 = 19.")
    expect(page.locator(".reply > .steps li")).to_have_count(3)
    expect(live).to_contain_text("Answer: 17.")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_a_stopped_answer_can_be_tried_again(page: Page, address: str) -> None:
    page.goto(address)
    ask(page, "endless")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Edit the question").click()
    expect(page.locator("#question")).to_have_value("endless")
    page.locator("#question").fill("")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".turn")).to_have_count(1)


def test_an_answer_that_a_reload_interrupts_can_be_asked_again(page: Page, address: str) -> None:
    page.goto(address)
    ask(page, "endless")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.reload()
    expect(page.locator(".reply .note")).to_contain_text("This answer was interrupted.")
    page.get_by_role("button", name="Edit the question").click()
    expect(page.locator("#question")).to_have_value("endless")


def test_a_refused_question_stays_in_the_box(page: Page, address: str) -> None:
    page.goto(address)
    ask(page, "long")
    expect(page.locator(".reply.error .problem")).to_contain_text("4000 tokens")
    expect(page.locator(".reply.error .cure")).to_have_text("Shorten it.")
    expect(page.locator("#question")).to_have_value("long")
    ask(page, "short")
    expect(page.locator(".reply .final")).to_have_count(1)


def test_more_candidates_than_allowed_are_not_sent(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_label("Candidates", exact=True).fill("10000")
    ask(page, "x")
    expect(page.locator(".asked")).to_have_count(0)


def test_options_of_a_mode_are_sent(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_label("Candidates", exact=True).fill("2")
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Tokens a chain, at most").fill("99")
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "x")
    body = json.loads(sent.value.post_data or "")
    asked = body["rjepa"]
    assert (asked["mode"], asked["num_candidates"], body["seed"], body["max_tokens"]) == ("rerank", 2, 7, 99)


def test_what_people_and_models_write_is_never_run(page: Page, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "<img src=x onerror='window.ran=1'><script>window.ran=1</script>"
    answer = FakeEngine._answer

    def hostile(self: FakeEngine, question: Question) -> Answer:
        made = answer(self, question)
        text = f"Step 1: {evil}\nStep 2: {evil}\nAnswer: {evil}\n"
        return made.model_copy(update={"text": text, "steps": [evil, evil], "final_answer": evil})

    monkeypatch.setattr(FakeEngine, "_answer", hostile)
    page.goto(address)
    ask(page, evil)
    expect(page.locator(".reply .final .text")).to_have_text(f"Answer: {evil}")
    assert page.evaluate("window.ran") is None
    assert page.locator(".reply img").count() == 0


def test_the_page_speaks_french_and_errors_do_too(page: Page, address: str) -> None:
    page.goto(address)
    ask(page, "x")
    expect(page.locator(".reply .final .text")).to_have_text("Answer: 17")
    page.get_by_role("link", name="Français").click()
    expect(page.locator(".reply .final .text")).to_have_text("Réponse\u00a0: 17")
    expect(page.locator(".why")).to_contain_text("Elle a le meilleur score. Elle devance de 1,00")
    ask(page, "long")
    expect(page.locator(".error .problem")).to_have_text("Le problème fait 4000 jetons\u00a0; l'élève en lit 512.")
    expect(page.locator(".error .cure")).to_have_text("Raccourcissez le problème.")
    ask(page, "broken")
    expect(page.locator(".error .problem").last).to_have_text("Le service a échoué.")
    page.reload()
    expect(page.get_by_role("button", name="Envoyer")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "fr"


REFUSED = [
    {"model": "tiny-a", "messages": [{"role": "user", "content": "long"}]},
    {"model": "tiny-a", "messages": [{"role": "user", "content": " "}]},
    {"model": "no-such-model", "messages": [{"role": "user", "content": "x"}]},
    {"model": "tiny-a", "messages": [{"role": "user", "content": "x"}], "rjepa": {"mode": "no-such-mode"}},
    {
        "model": "tiny-a",
        "messages": [{"role": "user", "content": "x"}],
        "rjepa": {"mode": "rerank", "num_candidates": 99},
    },
    {"model": "tiny-a", "messages": [{"role": "user", "content": "x"}], "rjepa": {"mode": "rerank"}, "temperature": 0},
    {"model": "tiny-a", "messages": [{"role": "user", "content": "x" * 2_000_000}]},
    {"model": "tiny-a", "messages": [{"role": "user", "content": "broken"}]},
]


def test_what_the_service_refuses_is_told_in_french_words_alone(phone: Page, address: str) -> None:
    """Each body is refused by the service itself; its words are then put through the page's own function."""
    phone.goto(address)
    for body in REFUSED:
        told = phone.evaluate(
            """async (body) => {
              const { ask } = await import("/static/api.js");
              const { explainError } = await import("/static/words.js");
              try { for await (const event of ask(body)) continue; } catch (error) { return explainError(error); }
            }""",
            body,
        )
        assert told is not None and told["original"] is None, (told, str(body)[:200])


def test_both_languages_have_the_same_words() -> None:
    folder = Path(__file__).parents[2] / "serving/words"
    english, french = (json.loads((folder / f"{language}.json").read_text()) for language in ("en", "fr"))
    for page in ("shared", "chat", "monitor"):
        assert english[page].keys() == french[page].keys()
        for name, text in english[page].items():
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", french[page][name])), name


def test_dark_and_light_can_be_chosen(page: Page, address: str) -> None:
    page.goto(address)
    background = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(background)
    page.get_by_role("button", name="Light or dark").click()
    after = page.evaluate(background)
    assert before != after
    page.reload()
    assert page.evaluate(background) == after


def test_a_question_sent_before_the_modes_are_known_waits_for_them(page: Page, address: str) -> None:
    late: list[Route] = []
    page.route("**/v1/info", lambda route: late.append(route), times=1)  # noqa: PLW0108 - it wants a function
    page.goto(address)
    ask(page, "one two")
    page.wait_for_timeout(200)  # time for a page that does not wait to send the question
    assert late
    for route in list(late):
        route.continue_()
    expect(page.get_by_text("Compare the 8 candidates")).to_be_visible()


def test_a_phone_shows_no_sideways_scroll(phone: Page, address: str) -> None:
    phone.goto(address)
    ask(phone, "x" * 200)
    expect(phone.locator(".reply .final .text")).to_have_text("Réponse\u00a0: 17")
    phone.get_by_text("Comparer les 8 candidats").click()
    expect(phone.locator(".compare table")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone.locator("#main").evaluate("node => node.scrollWidth - node.clientWidth") == 0
    assert phone.locator("#main").evaluate("node => node.clientHeight") > 560


def test_on_a_phone_mode_and_budget_wait_behind_a_button_that_names_the_mode(phone: Page, address: str) -> None:
    phone.goto(address)
    tune = phone.get_by_role("button", name="Mode et options")
    expect(tune).to_contain_text("reclasser")
    expect(phone.get_by_label("Candidats", exact=True)).to_be_hidden()
    assert phone.locator("footer").evaluate("node => node.clientHeight") < 780 / 8
    tune.click()
    phone.get_by_label("Mode", exact=True).select_option("off")
    expect(tune).to_contain_text("sans")
    phone.get_by_label("Mode", exact=True).select_option("rerank")
    phone.get_by_label("Candidats", exact=True).fill("-1")
    tune.click()
    ask(phone, "x")
    expect(phone.get_by_label("Candidats", exact=True)).to_be_focused()  # what does not fit is shown, not passed over
    phone.get_by_label("Candidats", exact=True).fill("3")
    phone.get_by_role("button", name="Envoyer").click()
    expect(phone.locator(".reply .final .text")).to_have_text("Réponse\u00a0: 17")
    expect(phone.get_by_label("Candidats", exact=True)).to_be_hidden()
    assert findings(phone) == []


def test_a_wrong_key_stays_in_the_field_and_is_named(page: Page, home: Home) -> None:
    settings = ServiceSettings(home=home.root, reload_seconds=0.05, api_key=KEY, _env_file=None)
    with running(create_app(settings, pages_loader(home))) as address:
        page.goto(address)
        expect(page.locator("#key-said")).to_have_text("This service asks for a key.")
        field = page.get_by_label("API key of this service")
        field.fill("wrong-key")
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#key-said")).to_contain_text("The service does not know this key.")
        expect(field).to_have_value("wrong-key")
        field.fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#status")).to_contain_text("tiny-a, release of")
        page.get_by_role("button", name="How many has Tom?").click()
        expect(page.locator(".reply .final .text")).to_have_text("Answer: 17")


def test_without_a_release_the_page_names_the_cure(browser: Browser, tmp_path: Path) -> None:
    home = Home(tmp_path / "empty")
    settings = ServiceSettings(home=home.root, reload_seconds=0.05, _env_file=None)
    with running(create_app(settings, pages_loader(home))) as address:
        for page in open_page(browser, locale="fr-FR"):
            page.goto(address)
            expect(page.locator("#status")).to_contain_text("tiny-a n'a pas encore de version à servir.")
            publish(home, 1)
            expect(page.get_by_role("button", name="How many has Tom?")).to_be_visible()


def test_the_page_tells_how_what_is_served_changed(page: Page, address: str, home: Home) -> None:
    publish(home, 2)
    page.goto(address)
    page.get_by_text("What changed").click()
    moves = page.locator("#changes-list .moves > li")
    expect(moves).to_have_count(2)
    expect(moves.first).to_contain_text("it is not worse")
    moves.first.get_by_text("Figures of this decision").click()
    expect(moves.first.locator("li").first).to_contain_text("on 1,000 problems, +0.0 points")


@pytest.mark.slow
def test_a_real_release_answers_on_the_page(page: Page, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("real")
    home = Home(root / "home")
    student = tiny_release.register_student(home, tiny_release.taught_folder(tmp_path_factory))
    publish_speaking(home, student, root, guided=True)
    settings = ServiceSettings(home=home.root, llm=tiny_release.TAG, reload_seconds=0.05, _env_file=None)
    app = create_app(settings)
    with running(app) as address:
        wait_for_release(app)
        page.goto(address)
        expect(page.locator("#examples button").first).to_be_visible()
        modes = page.get_by_label("Mode").locator("option").evaluate_all("all => all.map(one => one.value)")
        assert set(modes) == {"off", "rerank", "repair", "tree", "nudge", "plan"}
        for number, mode in enumerate(modes, 1):
            choose(page, mode)
            ask(page, tiny_release.STATEMENT)
            expect(page.locator(".reply .facts, .reply.error")).to_have_count(number, timeout=120_000)
        expect(page.locator(".reply.error")).to_have_count(0)
        expect(page.locator(".reply").nth(modes.index("off")).locator(".notice")).to_contain_text(
            "read the answer after"
        )
        expect(page.locator(".reply").nth(modes.index("rerank")).locator(".why")).to_contain_text("Why this one")
        # How far off P(correct) was on test problems is known of chains that the student wrote alone.
        chances = [page.locator(".reply").nth(modes.index(mode)).locator(".p-correct") for mode in ("rerank", "nudge")]
        for sentence in chances:
            expect(sentence).to_contain_text("gives this answer a chance of")
        expect(chances[0]).to_contain_text("On test problems such figures were off")
        expect(chances[1]).not_to_contain_text("On test problems")
