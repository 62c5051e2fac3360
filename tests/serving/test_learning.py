"""Learning control over HTTP: who may, what is recorded, and what is said where Dagster is away or refuses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from fastapi.testclient import TestClient

from rjepa.database import open_database
from rjepa.feedback.interactions import find, keep, list_interactions
from rjepa.feedback.records import Owner
from rjepa.feedback.reviews import list_reviews
from rjepa.feedback.votes import find_vote, give_vote
from rjepa.home import Home
from rjepa.keys import create_key
from rjepa.living.attempts import refuse
from rjepa.living.limits import LimitName
from rjepa.living.night import Hindrance
from rjepa.living.settings import LearningSettings, read_settings
from rjepa.living.windows import Window, add_windows
from rjepa.releases.pointer import current_release
from serving.app import create_app
from serving.pages import Language, words
from serving.settings import ServiceSettings
from tests.datasets.growing import first_version
from tests.feedback.answers import given
from tests.patience import wait_until
from tests.releases.conftest import Publisher

from .dagster_server import Dagster, serve_dagster
from .fakes import fake_loader

SHELLS = "Ana finds 21 shells on a beach, then 4 more, and Ben has 7 fewer than she has. How many shells has Ben?"


@pytest.fixture(scope="module")
def dagster() -> Iterator[Dagster]:
    with serve_dagster() as dagster:
        yield dagster


@pytest.fixture
def client(home: Home, dagster: Dagster) -> Iterator[TestClient]:
    dagster.refuses = False
    dagster.switches = dict.fromkeys(dagster.switches, "STOPPED")
    dagster.launched.clear()
    with started(home, dagster.url) as client:
        yield client


def started(home: Home, dagster_url: str, **others: Any) -> TestClient:
    settings = ServiceSettings(home=home.root, reload_seconds=0.05, dagster_url=dagster_url, _env_file=None, **others)
    return TestClient(create_app(settings, fake_loader(home)), base_url="http://localhost")


def control(client: TestClient, action: str, **others: Any) -> httpx.Response:
    return client.post("/v1/learning/control", json={"action": action, **others})


def test_enabling_is_kept_recorded_and_followed_by_dagster(client: TestClient, home: Home, dagster: Dagster) -> None:
    assert client.get("/v1/learning/status").json()["enabled"] is False
    changed = control(client, "enable", reason="the pilot begins").json()
    assert changed["settings"]["enabled"] is True and changed["note"] is None
    assert dagster.switches == {"new_feedback": "RUNNING", "nightly": "RUNNING"}
    status = client.get("/v1/learning/status").json()
    assert status["enabled"] and status["dagster"]["next_at"] == "2026-11-29T22:00:00Z"
    assert status["served"] == current_release(home, "tiny-a") and status["last_move"]["action"] == "promote"
    (change,) = client.get("/v1/learning/config").json()["changes"]
    assert (change["setting"], change["after"], change["reason"]) == ("enabled", True, "the pilot begins")
    assert change["who"].startswith("address:")
    control(client, "disable")
    assert dagster.switches == {"new_feedback": "STOPPED", "nightly": "STOPPED"}
    with open_database(home) as database:
        assert not read_settings(database).enabled


def test_a_setting_is_changed_and_reset(client: TestClient, dagster: Dagster) -> None:
    set_ = control(client, "set", settings={"min_interactions": 3, "enabled": True}).json()
    assert set_["settings"]["min_interactions"] == 3 and dagster.switches["nightly"] == "RUNNING"
    assert control(client, "reset").json()["settings"] == LearningSettings().model_dump()
    assert dagster.switches["nightly"] == "STOPPED"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"action": "set", "settings": {"learning_rate": 1.0}}, "learning_rate"),
        ({"action": "set", "settings": {"min_interactions": "3"}}, "min_interactions"),
        ({"action": "set", "settings": {"speed": 3}}, "speed"),
        ({"action": "set"}, "settings go with the action"),
        ({"action": "enable", "settings": {}}, "settings go with the action"),
        ({"action": "explode"}, "action"),
        ({"action": "enable", "why": "x"}, "why"),
        ({"action": "enable", "reason": "x" * 501}, "reason"),
        ({"action": "enable", "reason": "two\nlines"}, "reason"),
    ],
)
def test_what_does_not_fit_is_a_400_in_openais_shape_and_changes_nothing(
    client: TestClient, body: dict[str, Any], words: str
) -> None:
    reply = client.post("/v1/learning/control", json=body)
    error = reply.json()["error"]
    assert reply.status_code == 400 and words in error["message"] and error["cure"]
    assert error["type"] == "invalid_request_error"
    config = client.get("/v1/learning/config").json()
    assert config["settings"] == LearningSettings().model_dump() and config["changes"] == []


def test_a_night_is_launched_in_dagster_and_not_here(client: TestClient, dagster: Dagster) -> None:
    begun = client.post("/v1/learning/learn")
    assert begun.json() == {"run_id": "eb47a618-398b", "job": "living_night", "llm": "tiny-a"}
    (params,) = dagster.launched
    assert params["selector"]["jobName"] == "living_night"
    assert params["executionMetadata"]["tags"] == [{"key": "dagster/partition", "value": "tiny-a"}]
    dagster.refuses = True
    refused = client.post("/v1/learning/learn")
    assert refused.status_code == 502 and refused.json()["error"]["code"] == "launch_refused"


def test_the_status_says_what_is_missing_to_the_next_night(tmp_path: Path, dagster: Dagster) -> None:
    home = Home(tmp_path / "home")
    first_version(home)
    Publisher(home, tmp_path).publish(1, dataset="v0.1.0")
    with started(home, dagster.url) as client:
        coming = client.get("/v1/learning/status").json()["next_night"]
        assert (coming["may_begin"], coming["accepted"], coming["needed"], coming["missing"]) == (False, 0, 20, 20)
        assert coming["outlook"] == "nothing_new" and "nothing to learn" in coming["why"]
        with open_database(home) as database:
            answer = given(SHELLS, Owner("key:alice"))
            keep(database, answer)
            give_vote(database, answer, "up")
        coming = client.get("/v1/learning/status").json()["next_night"]
        assert (coming["may_begin"], coming["accepted"], coming["missing"]) == (False, 1, 19)
        assert (coming["outlook"], coming["limit"], coming["limit_value"]) == ("limited", "min_interactions", 20)
        control(client, "set", settings={"min_interactions": 1})
        coming = client.get("/v1/learning/status").json()["next_night"]
        assert coming["may_begin"] and coming["outlook"] == "may_begin" and coming["missing"] == 0
        assert "1 accepted interaction" in coming["why"]
        with open_database(home) as database:
            refuse(database, "tiny-a", "person", "0" * 64, 1, "limited", "too few", limit_name="min_interactions")
        night = client.get("/v1/learning/status").json()["last_night"]
        assert (night["outcome"], night["limit_name"], night["text"]) == ("limited", "min_interactions", "too few")
        assert client.get("/v1/learning/metrics").json()["nights"] == {"limited": 1}


def test_what_the_monitor_says_of_learning_is_in_the_reader_s_language(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    first_version(home)
    Publisher(home, tmp_path).publish(1, dataset="v0.1.0")
    with started(home, "http://127.0.0.1:1") as client:  # where no Dagster is
        shown = client.get("/v1/learning/section?lang=fr").text
    assert "Dagster ne répond pas" in shown and "rien de nouveau à apprendre" in shown and 'lang="en"' not in shown


@pytest.mark.parametrize("language", ["en", "fr"])
def test_each_reason_why_no_night_begins_has_words_in_each_language(language: Language) -> None:
    known = words(language)["monitor"]
    assert {f"next_{reason}" for reason in ("may_begin", "not_possible", *get_args(Hindrance))} <= {
        *known,
        "next_limited",  # is said by the limit's own words
    }
    assert {f"limit_{name}" for name in get_args(LimitName)} <= {*known, "limit_min_interactions"}


def test_where_nothing_is_served_the_status_says_so(tmp_path: Path, dagster: Dagster) -> None:
    with started(Home(tmp_path / "empty"), dagster.url) as client:
        status = client.get("/v1/learning/status").json()
    assert status["served"] is None and status["last_move"] is None and not status["next_night"]["may_begin"]
    assert status["next_night"]["outlook"] == "not_possible" and "no release" in status["next_night"]["why"]


def test_figures_and_health_say_what_answers_did(client: TestClient, home: Home) -> None:
    wait_until(lambda: client.get("/v1/ready").status_code == 200)
    body = {"model": "tiny-a:rerank", "messages": [{"role": "user", "content": "x"}]}
    assert client.post("/v1/chat/completions", json=body).status_code == 200
    found = client.get("/v1/learning/metrics").json()
    assert found["process"]["recent"] == 1 and 0 < found["process"]["quality"] <= 1
    assert found["moves"] == {"promote": 1} and len(found["releases"]) == 1 and found["nights"] == {}
    assert client.get("/v1/learning/health").json()["last_hour"] == []  # no window is written yet
    window = {"llm_tag": "tiny-a", "release_id": "r1", "started_at_ms": 0}
    with open_database(home) as database:
        with database.reading() as connection:
            now = database.now_ms(connection)
        hours_ago = {"ended_at_ms": now - 5 * 3_600_000, "answers": 8, "errors": 2}
        recent = {"ended_at_ms": now, "answers": 3, "errors": 1, "energies": 2, "energy_sum": 1.0, "thumbs_down": 1}
        add_windows(database, [Window(**window, **one) for one in (hours_ago, recent, recent)])
    health = client.get("/v1/learning/health").json()
    (hour,), (day,) = health["last_hour"], health["last_day"]
    assert (hour["answers"], hour["error_rate"], hour["mean_energy"], hour["thumbs_down_share"]) == (6, 0.25, 0.5, 1.0)
    assert (day["answers"], day["errors"]) == (14, 4) and health["automatic_rollback"] is True
    assert health["comparison"]["verdict"] == "not_looked_at" and "replaced nothing" in health["comparison"]["text"]


def manual(client: TestClient, *examples: dict[str, Any], **others: Any) -> httpx.Response:
    return client.post("/v1/learning/manual", json={"examples": list(examples), **others})


def test_examples_are_given_by_hand_and_a_night_begun_at_once(client: TestClient, home: Home, dagster: Dagster) -> None:
    wait_until(lambda: client.get("/v1/ready").status_code == 200)
    solution = "Step 1: Ana has 21 + 4 = 25 shells.\nStep 2: Ben has 25 - 7 = 18 shells.\nAnswer: 18"
    reply = manual(client, {"input": SHELLS, "target": solution}, {"input": "How many pens?"}, learn=True)
    solved, answered = reply.json()["examples"]
    assert (solved["written_by"], answered["written_by"]) == ("operator", "release")
    assert reply.json()["night"]["run_id"] == "eb47a618-398b" and len(dagster.launched) == 1
    with open_database(home) as database:
        kept, reviews = find(database, answered["id"]), list_reviews(database)
        with database.reading() as connection:
            vote = find_vote(connection, answered["id"])
    assert kept is not None and kept.release_id == current_release(home, "tiny-a") and kept.p_correct is not None
    assert vote is not None and vote.vote == "up"
    # The operator's own solution is accepted; the release's answer is approved, and selected by the rules for votes.
    assert reviews.keys() == {solved["id"]}
    assert client.delete(f"/v1/feedback/{solved['id']}").status_code == 200


def test_an_answer_alone_is_taken_if_the_release_comes_to_it(client: TestClient, home: Home) -> None:
    wait_until(lambda: client.get("/v1/ready").status_code == 200)
    right = manual(client, {"input": "How many pens has Tom?", "target": "17"}).json()["examples"][0]
    with open_database(home) as database:
        assert list_reviews(database)[right["id"]].decision == "accept"
    wrong = manual(client, {"input": "How many pens has Tom?", "target": "18"})
    assert wrong.status_code == 400 and "comes to 17, and not to 18" in wrong.json()["error"]["message"]
    with open_database(home) as database:
        assert len(list_interactions(database)) == 1


def test_without_dagster_the_setting_is_kept_and_the_answer_says_what_to_do(home: Home) -> None:
    with started(home, "http://127.0.0.1:1") as client:
        changed = control(client, "enable").json()
        assert changed["settings"]["enabled"] and "rjepa up" in changed["note"]
        assert client.get("/v1/learning/status").json()["dagster"]["note"].endswith("start it: rjepa up")
        refused = client.post("/v1/learning/learn")
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "dagster_away"


def test_a_viewer_looks_and_an_operator_changes(home: Home, dagster: Dagster) -> None:
    with open_database(home) as database:
        keys = {role: create_key(database, role, role)[0] for role in ("viewer", "user", "operator")}
        identity = f"key:{keys['operator'].split('_')[1]}"
    bodies = {"control": {"action": "enable"}, "manual": {"examples": [{"input": "x", "target": "17"}]}}
    looks = ["status", "config", "metrics", "health"]
    with started(home, dagster.url, require_key=True) as client:
        wait_until(lambda: client.get("/v1/ready").status_code == 200)
        for role, key in keys.items():
            headers = {"authorization": f"Bearer {key}"}
            assert {client.get(f"/v1/learning/{look}", headers=headers).status_code for look in looks} == {200}
            for path in ("learn", "control", "manual"):
                status = client.post(f"/v1/learning/{path}", headers=headers, json=bodies.get(path)).status_code
                assert (status == 403) == (role != "operator"), (role, path, status)
        assert client.get("/v1/learning/status").status_code == 401
        config = client.get("/v1/learning/config", headers={"authorization": f"Bearer {keys['viewer']}"}).json()
    assert [change["who"] for change in config["changes"]] == [identity]
    assert not any(key in str(config) for key in keys.values())


def test_the_openapi_document_describes_every_route(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("status", "config", "metrics", "health", "control", "learn", "manual"):
        (operation,) = paths[f"/v1/learning/{path}"].values()
        assert operation["description"] and "422" not in operation["responses"]
        assert operation["responses"]["200"]["content"]["application/json"]["schema"]
