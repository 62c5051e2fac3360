from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from serving.app import create_app
from serving.cli import serve
from serving.settings import ServiceSettings, is_loopback

from .fakes import FakeEngine, fake_loader, publish, ready

KEY = "d41d8cd98f00b204e9800998ecf8427e"
BODY = {"model": "tiny-a", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home = Home(tmp_path_factory.mktemp("home"))
    publish(home, 1)
    settings = ServiceSettings(home=home.root, reload_seconds=0.05, max_waiting=2, api_key=KEY, _env_file=None)
    app = create_app(settings, fake_loader(home))
    with ready(app) as client:
        yield client


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1/healthx", "/v1/health/", "/staticx", "/static/../v1/info", "/V1/INFO"]
)
def test_what_is_not_on_the_list_asks_for_the_key(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 401


def test_the_key_opens_every_route(guarded: TestClient) -> None:
    assert guarded.get("/v1/info", headers={"authorization": f"Bearer {KEY}"}).status_code == 200
    assert (
        guarded.post("/v1/chat/completions", json=BODY, headers={"authorization": f"bearer {KEY}"}).status_code == 200
    )


@pytest.mark.parametrize(
    "value", ["", KEY, f"Basic {KEY}", "Bearer", "Bearer x", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer é"]
)
def test_a_wrong_key_is_refused_in_the_openai_shape(guarded: TestClient, value: str) -> None:
    reply = guarded.get("/v1/info", headers={"authorization": value.encode()})
    assert reply.status_code == 401 and reply.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
@pytest.mark.parametrize("key", [None, "", "short", "changeme-changeme-changeme", "your-api-key-goes-here"])
def test_a_network_is_not_served_without_a_key_of_its_own(home: Home, host: str, key: str | None) -> None:
    with pytest.raises(InvalidInputError, match="RJEPA_API_KEY") as error:
        create_app(ServiceSettings(home=home.root, host=host, api_key=key), fake_loader(home))
    assert key is None or len(key) < 6 or key not in str(error.value)


def test_the_command_refuses_to_serve_a_network_without_a_key() -> None:
    with pytest.raises(InvalidInputError, match="openssl rand"):
        serve(host="0.0.0.0")


def test_a_network_is_served_with_a_key(home: Home) -> None:
    create_app(ServiceSettings(home=home.root, host="0.0.0.0", api_key=KEY), fake_loader(home))


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.2", True), ("[::1]", True), ("LOCALHOST", True), ("127.0.0.1.nip.io", False)]
)
def test_loopback_is_told_from_a_network(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1@evil", "localhost/x", "", "[::1"]
)
def test_another_host_name_is_refused(shared_client: TestClient, host: str) -> None:
    reply = shared_client.get("/v1/info", headers={"host": host})
    assert reply.status_code == 400 and reply.json()["error"]["code"] == "invalid_host"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LocalHost:1"])
def test_the_names_of_this_machine_are_answered(shared_client: TestClient, host: str) -> None:
    assert shared_client.get("/v1/info", headers={"host": host}).status_code == 200


def test_host_names_can_be_added(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    monkeypatch.setenv("RJEPA_ALLOWED_HOSTS", "lab.example, Other.example")
    assert {"lab.example", "other.example", "localhost"} <= ServiceSettings(home=home.root).hosts


def test_a_large_body_is_refused_with_or_without_a_length(address: str) -> None:
    size = 1100 * 1024
    declared = httpx.post(
        f"{address}/v1/chat/completions", content=b" " * size, headers={"content-type": "application/json"}
    )
    assert declared.status_code == 413 and declared.json()["error"]["cure"]

    def pieces() -> Iterator[bytes]:
        for _ in range(size // 1024):
            yield b" " * 1024

    streamed = httpx.post(
        f"{address}/v1/chat/completions", content=pieces(), headers={"content-type": "application/json"}
    )
    assert streamed.status_code == 413


def test_a_form_or_plain_text_from_another_page_is_refused(client: TestClient, engines: list[FakeEngine]) -> None:
    text = '{"model": "tiny-a", "messages": [{"role": "user", "content": "x"}]}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        reply = client.post("/v1/chat/completions", content=text, headers={"content-type": kind})
        assert reply.status_code == 415, kind
    assert client.post("/v1/chat/completions", content=text).status_code == 415
    assert engines[0].calls == []


def test_no_page_elsewhere_may_read_replies(client: TestClient) -> None:
    reply = client.options(
        "/v1/chat/completions",
        headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
    )
    assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/v1/health", "/static/app.js", "/v1/nothing", "/v1/info"])
def test_every_reply_carries_the_security_headers(shared_client: TestClient, path: str) -> None:
    headers = shared_client.get(path).headers
    assert (
        "script-src 'self'" in headers["content-security-policy"] and "unsafe" not in headers["content-security-policy"]
    )
    assert headers["x-content-type-options"] == "nosniff" and len(headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd", "/static/"]
)
def test_only_the_page_s_own_folder_is_served(shared_client: TestClient, path: str) -> None:
    reply = shared_client.get(path)
    assert reply.status_code == 404 and "import" not in reply.text


def test_the_page_fetches_nothing_from_elsewhere() -> None:
    for path in (Path(__file__).parents[2] / "serving/static").iterdir():
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "http://" not in text and "https://" not in text and "innerHTML" not in text, path.name
