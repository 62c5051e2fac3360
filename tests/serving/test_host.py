from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from rjepa.home import Home
from rjepa.releases.bundle import release_folder, verify
from rjepa.releases.pointer import require_current, rollback
from serving.app import create_app
from serving.host import AnswersQuestions
from serving.settings import ServiceSettings
from tests.patience import PATIENCE, wait_until

from .fakes import FakeEngine, fake_loader, publish


def body(statement: str, **more: object) -> dict:
    return {"model": "tiny-a", "messages": [{"role": "user", "content": statement}], **more}


def released(client: TestClient) -> str | None:
    return client.get("/v1/ready").json()["release"]


def test_the_service_starts_without_a_release_and_loads_the_first_one(tmp_path: Path) -> None:
    home = Home(tmp_path / "empty")
    app = create_app(ServiceSettings(home=home.root, reload_seconds=0.05), fake_loader(home))
    with TestClient(app, base_url="http://localhost") as client:
        wait_until(lambda: client.get("/v1/info").json()["error"] is not None)
        reply = client.post("/v1/chat/completions", json=body("x"))
        assert reply.status_code == 503 and "make demo" in reply.json()["error"]["cure"]
        assert client.get("/v1/health").status_code == 200 and client.get("/v1/ready").status_code == 503
        assert client.get("/").status_code == 200
        release_id = publish(home, 1)
        wait_until(lambda: released(client) == release_id)
        assert client.get("/v1/info").json()["error"] is None


def test_a_new_release_is_warmed_up_and_served_without_a_restart(
    client: TestClient, home: Home, engines: list[FakeEngine]
) -> None:
    second = publish(home, 2)
    wait_until(lambda: released(client) == second)
    assert engines[-1].warm
    assert client.post("/v1/chat/completions", json=body("x")).json()["system_fingerprint"] == second
    first = rollback(home, "tiny-a")
    wait_until(lambda: released(client) == first)


def test_a_damaged_release_is_not_served_and_the_old_one_stays(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    first = publish(home, 1)

    def verified(previous: AnswersQuestions | None) -> FakeEngine:
        return FakeEngine(verify(home, "tiny-a", require_current(home, "tiny-a")).release_id)

    app = create_app(ServiceSettings(home=home.root, reload_seconds=0.05), verified)
    with TestClient(app, base_url="http://localhost") as client:
        wait_until(lambda: released(client) == first)
        second = publish(home, 2)
        wait_until(lambda: released(client) == second)
        (release_folder(home, "tiny-a", first) / "calibration.json").write_text("{}")
        (home.releases("tiny-a") / "CURRENT").write_text(first)
        wait_until(lambda: client.get("/v1/ready").json()["reload"] == "failed")
        info = client.get("/v1/info").json()
        assert "calibration.json" in info["error"]["problem"] and info["error"]["cure"]
        assert client.get("/v1/ready").status_code == 200 and released(client) == second
        assert client.post("/v1/chat/completions", json=body("x")).json()["system_fingerprint"] == second
        third = publish(home, 3)
        wait_until(lambda: released(client) == third)
        assert client.get("/v1/info").json()["error"] is None


def test_an_engine_that_fails_to_warm_up_is_not_served(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    publish(home, 1)

    class Cold(FakeEngine):
        def warm_up(self) -> None:
            raise MemoryError("no room")

    app = create_app(ServiceSettings(home=home.root, reload_seconds=0.05), lambda previous: Cold("x"))
    with TestClient(app, base_url="http://localhost") as client:
        wait_until(lambda: client.get("/v1/info").json()["error"] is not None)
        assert "MemoryError" in client.get("/v1/info").json()["error"]["problem"]


def test_requests_past_the_queue_are_told_to_come_back(client: TestClient) -> None:
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda _: client.post("/v1/chat/completions", json=body("slow")), range(3)))
    assert sorted(reply.status_code for reply in replies) == [200, 200, 429]
    busy = next(reply for reply in replies if reply.status_code == 429)
    assert busy.headers["retry-after"] and busy.json()["error"]["cure"]


def test_a_client_that_leaves_a_stream_frees_the_model(address: str, engines: list[FakeEngine]) -> None:
    with httpx.stream("POST", f"{address}/v1/chat/completions", json=body("endless", stream=True)) as reply:
        pieces = reply.iter_bytes()  # kept: a collected iterator closes the connection by itself
        next(pieces)
        wait_until(lambda: bool(engines[0].calls))
    assert engines[0].closed.wait(PATIENCE)
    assert httpx.post(f"{address}/v1/chat/completions", json=body("x")).status_code == 200


def test_the_log_holds_figures_and_no_words_of_the_question(client: TestClient) -> None:
    with capture_logs() as lines:
        client.post(
            "/v1/chat/completions", json=body("canary question"), headers={"authorization": "Bearer canary-key"}
        )
        client.post("/v1/chat/completions", json=body("canary broken"))
    assert [line["event"] for line in lines].count("request") == 2
    answered = next(line for line in lines if line["event"] == "answered")
    assert answered["tokens"] == 20 and answered["mode"] == "off"
    assert "canary" not in str([{k: v for k, v in line.items() if k != "exc_info"} for line in lines])


@pytest.mark.parametrize("path", ["/v1/examples", "/v1/models", "/v1/info"])
def test_the_service_describes_itself(client: TestClient, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 200 and reply.json()


def test_info_says_when_messages_are_read(client: TestClient) -> None:
    assert "chat template" in client.get("/v1/info").json()["messages"]
