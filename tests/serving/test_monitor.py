"""The monitor's routes: what is told as JSON and as HTML, rolling back, creating a dataset, Dagster being away."""

import html
from collections.abc import Iterator
from typing import get_args

import pytest
from fastapi.testclient import TestClient

from rjepa.database import open_database
from rjepa.files import write_json
from rjepa.home import Home
from rjepa.keys import create_key
from rjepa.releases.gate import Reason
from rjepa.releases.history import history
from rjepa.releases.pointer import current_release
from serving.app import create_app
from serving.pages import Language, words
from serving.settings import ServiceSettings

from .dagster_server import Dagster, serve_dagster
from .fakes import fake_loader, publish

FRENCH = {"accept-language": "fr-FR,fr;q=0.9,en;q=0.5"}


@pytest.fixture
def dagster() -> Iterator[Dagster]:
    with serve_dagster() as dagster:
        yield dagster


@pytest.fixture
def client(home: Home, dagster: Dagster) -> Iterator[TestClient]:
    settings = ServiceSettings(home=home.root, reload_seconds=0.05, dagster_url=dagster.url)
    with TestClient(create_app(settings, fake_loader(home)), base_url="http://localhost") as client:
        yield client


def test_runs_releases_storage_and_alerts_are_told(client: TestClient, home: Home) -> None:
    state = client.get("/v1/monitor/state").json()
    assert state["releases"]["current"] == current_release(home, "tiny-a")
    assert state["releases"]["releases"][0]["accuracy"]["value"] == 0.5
    running, done, failed = state["runs"]
    assert (running["steps_done"], running["steps_total"], running["current_steps"]) == (1, 3, ["latents"])
    assert (done["status"], done["partition"]) == ("success", "tiny-a")
    assert failed["failed_steps"] == ["teacher_chains"]
    assert {folder["name"] for folder in state["storage"]["folders"]} >= {"releases", "evaluations"}
    assert [alert["kind"] for alert in state["alerts"]] == ["run_failed", "ece_above_target"]
    assert state["teachers"] is None


def test_the_same_is_html_in_the_readers_language(client: TestClient) -> None:
    english, french = client.get("/v1/monitor/sections").text, client.get("/v1/monitor/sections", headers=FRENCH).text
    assert '<h2 id="served">What is served</h2>' in english and "1 of 3 steps" in english
    assert '<h2 id="served">Ce qui est servi</h2>' in french and "1 sur 3 étapes" in french
    assert "50,0\u202f%" in french and "50.0%" in english
    for text in (english, french):
        assert "style=" not in text and "<script" not in text and "onclick" not in text
        assert 'id="teachers"' not in text  # no teacher ever worked here


def test_with_dagster_away_the_section_says_so_and_the_rest_is_shown(home: Home) -> None:
    settings = ServiceSettings(home=home.root, dagster_url="http://127.0.0.1:1")
    with TestClient(create_app(settings, fake_loader(home)), base_url="http://localhost") as client:
        assert client.get("/v1/monitor/state").json()["runs"] is None
        text = client.get("/v1/monitor/sections").text
        assert "Dagster does not answer at http://127.0.0.1:1" in text and "What is served" in text
        assert 'id="create"' not in text
        reply = client.post("/v1/monitor/datasets", json={"name": "smoke"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "dagster_away")


def test_a_viewer_sees_everything_and_may_do_nothing(home: Home, dagster: Dagster) -> None:
    first, second = current_release(home, "tiny-a"), publish(home, 2)
    settings = ServiceSettings(home=home.root, dagster_url=dagster.url, api_key="d41d8cd98f00b204e9800998ecf8427e")
    with open_database(home) as database:
        key, _ = create_key(database, "reader", "viewer")
    with TestClient(create_app(settings, fake_loader(home)), base_url="http://localhost") as client:
        assert client.get("/v1/monitor/state").status_code == 401
        client.headers["authorization"] = f"Bearer {key}"
        text = client.get("/v1/monitor/sections").text
        assert "What is served" in text and 'id="rollback"' not in text and 'id="create"' not in text
        assert client.post("/v1/monitor/rollback", json={"to": first, "served": second}).status_code == 403
        assert client.post("/v1/monitor/datasets", json={"name": "smoke"}).status_code == 403
    assert current_release(home, "tiny-a") == second and dagster.launched == []


def test_an_operator_rolls_back_and_the_history_keeps_it(client: TestClient, home: Home) -> None:
    first = current_release(home, "tiny-a")
    second = publish(home, 2)
    reply = client.post("/v1/monitor/rollback", json={"to": first, "served": second})
    assert reply.json() == {"release": first} and current_release(home, "tiny-a") == first
    last = history(home, "tiny-a")[-1]
    assert (last.action, last.source, last.target, last.reason) == ("rollback", second, first, "from the monitor")


def test_one_click_goes_back_to_the_release_before(client: TestClient, home: Home) -> None:
    first = current_release(home, "tiny-a")
    second = publish(home, 2)
    page = client.get("/v1/monitor/sections").text
    assert f'id="rollback-before" class="act" data-served="{second}" data-to="{first}"' in page
    assert client.post("/v1/monitor/rollback", json={"served": second}).json() == {"release": first}
    # What was gone back to replaced nothing, so that there is nothing further to offer.
    assert 'id="rollback-before"' not in client.get("/v1/monitor/sections").text
    assert current_release(home, "tiny-a") == first


def test_a_page_that_is_out_of_date_rolls_nothing_back(client: TestClient, home: Home) -> None:
    first = current_release(home, "tiny-a")
    second = publish(home, 2)
    reply = client.post("/v1/monitor/rollback", json={"to": second, "served": first})
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "out_of_date")
    assert current_release(home, "tiny-a") == second


@pytest.mark.parametrize("to", ["../../etc", "20260101T000000Z-000000000000", "x"])
def test_a_release_that_does_not_exist_is_not_served(client: TestClient, home: Home, to: str) -> None:
    before = current_release(home, "tiny-a")
    reply = client.post("/v1/monitor/rollback", json={"to": to, "served": before})
    assert 400 <= reply.status_code < 600 and reply.status_code != 500 and reply.json()["error"]["cure"]
    assert current_release(home, "tiny-a") == before


def test_a_dataset_with_a_recipe_is_made_by_dagster(client: TestClient, dagster: Dagster) -> None:
    assert client.post("/v1/monitor/datasets", json={"name": "smoke"}).json()["run"] == "eb47a618-398b"
    assert dagster.partitions == ["smoke"]
    (launched,) = dagster.launched
    assert launched["selector"]["jobName"] == "dataset_version"
    assert launched["executionMetadata"]["tags"] == [{"key": "dagster/partition", "value": "smoke"}]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "no-such-dataset"},
        {"name": "../smoke"},
        {"name": "v1.1.0", "parent": "v1.0.0", "add": ["/etc/passwd"]},
        {"name": "v1.1.0", "parent": "not-released"},
    ],
)
def test_a_dataset_that_cannot_be_made_is_refused_and_nothing_is_launched(
    client: TestClient, dagster: Dagster, body: dict[str, object]
) -> None:
    reply = client.post("/v1/monitor/datasets", json=body)
    assert reply.status_code >= 400 and reply.status_code != 500 and reply.json()["error"]["cure"]
    assert dagster.launched == []


def test_a_run_that_dagster_does_not_launch_is_told(client: TestClient, dagster: Dagster) -> None:
    dagster.refuses = True
    reply = client.post("/v1/monitor/datasets", json={"name": "smoke"})
    assert reply.status_code == 502 and "no such job" in reply.json()["error"]["message"]


def test_what_changed_this_week_is_told_to_the_chat(client: TestClient, home: Home) -> None:
    publish(home, 2)
    text = html.unescape(client.get("/v1/monitor/changes?lang=fr").text)
    assert text.count('<li class="promote">') == 2
    assert "elle n'est pas moins bonne" in text and "il n'y en avait aucune à comparer" in text


def test_names_that_files_hold_are_escaped(client: TestClient, home: Home) -> None:
    write_json(home.root / "<img src=x onerror=alert(1)>", {"x": "y" * 100})
    text = client.get("/v1/monitor/sections").text
    assert "<img" not in text and "&lt;img src=x" in text


@pytest.mark.parametrize(
    ("given", "spoken"),
    [
        ({"accept-language": "de, fr;q=0.5"}, "fr"),
        ({"accept-language": "fr;q=0.2, en;q=0.9"}, "en"),
        ({"accept-language": "x;q=y,,"}, "en"),
        ({"cookie": "rjepa_language=fr", "accept-language": "en"}, "fr"),
        ({"cookie": "rjepa_language=<script>"}, "en"),
    ],
)
def test_a_page_speaks_the_language_that_was_chosen_or_is_preferred(
    client: TestClient, given: dict[str, str], spoken: str
) -> None:
    for path in ("/", "/monitor"):
        assert f'<html lang="{spoken}"' in client.get(path, headers=given).text


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_chat_page_tells_a_screen_reader_which_keys_there_are(client: TestClient, language: Language) -> None:
    page = client.get(f"/?lang={language}").text
    assert words(language)["chat"]["keyboard"] in html.unescape(page)


@pytest.mark.parametrize("path", ["/", "/monitor"])
@pytest.mark.parametrize("language", ["en", "fr"])
def test_no_page_shows_how_it_is_made(client: TestClient, path: str, language: Language) -> None:
    """A word that is named as a method of dict would be that method in a template."""
    page = client.get(path, params={"lang": language}, headers={"accept": "text/html"}).raise_for_status().text
    assert " object at 0x" not in html.unescape(page)


def test_a_chosen_language_is_kept(client: TestClient) -> None:
    assert "rjepa_language=fr" in client.get("/?lang=fr").headers["set-cookie"]
    assert '<html lang="fr"' in client.get("/monitor").text
    assert "set-cookie" not in client.get("/?lang=xx").headers


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_reason_of_the_gate_has_words_in_each_language(language: Language) -> None:
    known = words(language)["monitor"]
    assert [reason for reason in get_args(Reason) if f"reason_{reason}" not in known] == []
