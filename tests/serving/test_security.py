"""Attacks that other services suffered, tried on this one, one by one."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from structlog.testing import capture_logs

from rjepa.home import Home
from rjepa.reasoning.modes import MODES
from serving import auth
from serving.access import ACCESS, METHODS, rule_of
from serving.app import create_app
from serving.settings import ServiceSettings
from tests.patience import wait_until

from .fakes import fake_loader, publish, ready

KEY = "5b1d7f6c08e24a93b7d1c2f0a9e8d7c6"
OPEN = {("GET", path) for path in ("/", "/v1/health", "/v1/ready", "/monitor", "/static/app.js")}
SCRIPT = f"/static/{next((Path(__file__).parents[2] / 'serving/static').glob('*.js')).name}"
BODY = {"model": "tiny-a", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture(scope="module")
def networked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, FastAPI]]:
    """A service bound off loopback, with another app and a WebSocket mounted into it."""
    home = Home(tmp_path_factory.mktemp("home"))
    publish(home, 1)
    settings = ServiceSettings(home=home.root, host="0.0.0.0", api_key=KEY, reload_seconds=0.05, _env_file=None)
    app = create_app(settings, fake_loader(home))

    async def stranger(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("a mounted app was reached without a key")

    app.mount("/mounted", stranger)
    app.router.routes.append(WebSocketRoute("/socket", stranger))
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until(lambda: client.get("/v1/ready").status_code == 200)
        yield client, app


def all_routes(routes: list[Any], prefix: str = "") -> list[tuple[str, set[str]]]:
    """Path and methods of every route, those of included routers and mounted apps too."""
    found: list[tuple[str, set[str]]] = []
    for route in routes:
        if isinstance(route, Mount):
            found.append((f"{prefix}{route.path}/app.js", {"GET"}))
            found.append((f"{prefix}{route.path}", {"GET"}))
            found += all_routes(list(route.routes or []), prefix + route.path)
        elif isinstance(route, Route):
            found.append((prefix + route.path, set(route.methods or ())))
        else:
            inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", [])
            found += all_routes(list(inner), prefix)
    return found


def test_every_route_asks_for_a_key_whatever_the_method(networked: tuple[TestClient, FastAPI]) -> None:
    client, app = networked
    routes = all_routes(app.routes)
    assert len(routes) >= 10 and {"/v1/chat/completions", "/metrics", "/mounted/app.js"} <= {path for path, _ in routes}
    for path, own in routes:
        for method in sorted(own | METHODS | {"PUT", "PATCH", "TRACE", "PROPFIND"}):
            status = client.request(method, re.sub(r"\{[^}]*\}", "tiny-a", path)).status_code
            if ("GET" if method == "HEAD" else method, path) in OPEN:
                assert status in (200, 404, 405), (method, path, status)
            elif method in METHODS:
                assert status == 401, (method, path, status)
            else:
                assert status == 405, (method, path, status)


def test_every_route_has_a_line_in_the_table_of_roles(networked: tuple[TestClient, FastAPI]) -> None:
    for path, methods in all_routes(networked[1].routes):
        for method in methods:
            if not path.startswith(("/mounted", "/static")):
                assert rule_of(method, re.sub(r"\{[^}]*\}", "x", path)) in ACCESS, (
                    f"{method} {path} has no line in serving/access.py, so that operators alone may use it"
                )


def test_a_web_socket_is_closed_before_anyone_looks_at_it(networked: tuple[TestClient, FastAPI]) -> None:
    with pytest.raises(WebSocketDisconnect) as closed:
        with networked[0].websocket_connect("/socket"):
            pass
    assert closed.value.code == 1008


@pytest.mark.parametrize(
    "name",
    ["../tiny-a", "..%2f..%2fetc%2fpasswd", "tiny-a%23x", "tiny-a%00", "//evil.example/tiny-a", "tiny-a%2f..", "%252e"],
)
def test_a_model_is_a_name_and_never_a_path(shared_client: TestClient, name: str) -> None:
    assert shared_client.get(f"/v1/models/{name}").status_code in (400, 404)
    reply = shared_client.post("/v1/chat/completions", json=BODY | {"model": name})
    assert reply.status_code == 404 and reply.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2fapp.py",
        "/static/..%5capp.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/app.js%00",
        "/static/",
        "/static/.",
    ],
)
def test_the_page_gives_its_own_files_alone(shared_client: TestClient, path: str) -> None:
    reply = shared_client.get(path)
    assert reply.status_code in (400, 401, 404) and "import" not in reply.text and "root:" not in reply.text


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/info", "/v1/nothing"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://localhost:81", "file://", "x"]
)
def test_a_page_elsewhere_changes_nothing(shared_client: TestClient, method: str, path: str, origin: str) -> None:
    reply = shared_client.request(method, path, json=BODY, headers={"origin": origin})
    assert reply.status_code == 403 and reply.json()["error"]["code"] == "invalid_origin"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "CONNECT", "PROPFIND", "X"])
def test_a_method_that_is_not_on_the_list_is_refused(shared_client: TestClient, method: str) -> None:
    assert shared_client.request(method, "/v1/chat/completions", json=BODY).status_code == 405


def test_the_page_itself_and_programs_may_ask(client: TestClient) -> None:
    for headers in ({}, {"origin": "http://localhost"}):
        assert client.post("/v1/chat/completions", json=BODY, headers=headers).status_code == 200


def test_pages_of_named_origins_may_ask_without_credentials(home: Home) -> None:
    settings = ServiceSettings(home=home.root, cors_origins="https://lab.example, http://other.example:8080")
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-stainless-os"}
    with ready(create_app(settings, fake_loader(home))) as client:
        for origin in settings.cors_origins:
            before = client.options("/v1/chat/completions", headers={"origin": origin, **asks})
            assert before.status_code == 200 and before.headers["access-control-allow-origin"] == origin
            after = client.post("/v1/chat/completions", json=BODY, headers={"origin": origin})
            assert after.status_code == 200 and after.headers["access-control-allow-origin"] == origin
            assert "x-request-id" in after.headers["access-control-expose-headers"].lower()
            for reply in (before, after):
                assert "access-control-allow-credentials" not in reply.headers
        other = client.options("/v1/chat/completions", headers={"origin": "https://evil.example", **asks})
        assert other.status_code == 403 and "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("origin", ["*", "https://*", "https://lab.example/", "lab.example", "https://a@b", "null"])
def test_no_origin_is_allowed_that_is_not_one(home: Home, origin: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        ServiceSettings(home=home.root, cors_origins=origin)


def test_a_host_header_neither_opens_nor_redirects(networked: tuple[TestClient, FastAPI]) -> None:
    client, _ = networked
    for host in ("evil.example/v1/health?", "evil.example", "localhost/static/x#", "[::1]@evil", "v1/health"):
        for path in ("/v1/info", "/v1/models/", "/static"):
            reply = client.get(path, headers={"host": host}, follow_redirects=False)
            assert reply.status_code in (400, 401), (host, path)
            assert "location" not in reply.headers and "evil" not in reply.text


def test_a_request_with_two_hosts_has_none(shared_client: TestClient) -> None:
    twice = [("host", "localhost"), ("host", "evil.example")]
    for headers in (twice, twice[::-1]):
        reply = shared_client.get("/v1/info", headers=headers)
        assert reply.status_code == 400 and reply.json()["error"]["code"] == "invalid_host"


def test_no_hook_stands_between_a_stream_and_its_client(networked: tuple[TestClient, FastAPI]) -> None:
    hooks = [hook.cls for hook in networked[1].user_middleware]
    assert len(hooks) >= 7
    assert not any(isinstance(hook, type) and issubclass(hook, BaseHTTPMiddleware) for hook in hooks)


def test_every_number_that_a_mode_takes_has_a_bound() -> None:
    for mode in MODES.values():
        for name, schema in mode.options.model_json_schema()["properties"].items():
            for part in schema.get("anyOf", [schema]):
                bounded = {"maximum", "exclusiveMaximum"} & part.keys()
                # A budget lowers what the others allow, and raises nothing.
                assert part.get("type") not in ("integer", "number") or bounded or name == "budget", (mode.name, name)


def test_keys_are_compared_in_constant_time(
    networked: tuple[TestClient, FastAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []

    def compare(given: bytes, right: bytes) -> bool:
        lengths.append((len(given), len(right)))
        return given == right

    monkeypatch.setattr(auth.hmac, "compare_digest", compare)
    for key in ("x", KEY, KEY[:-1], "x" * 3000):
        networked[0].get("/v1/info", headers={"authorization": f"Bearer {key}"})
    assert lengths == [(32, 32)] * 4  # of digests: nothing is told of a length


def test_a_path_decides_decoded_and_as_a_whole(networked: tuple[TestClient, FastAPI]) -> None:
    for path in (
        "/v1/health/../info",
        "/v1/%2e%2e/v1/info",
        "/static/%2e%2e/v1/info",
        "/v1/info;/v1/health",
        "/%76%31/info",
    ):
        assert networked[0].get(path).status_code == 401, path


def test_ranges_are_not_served(client: TestClient) -> None:
    ranges = ",".join(f"{start}-{start}" for start in range(0, 20_000, 2))
    whole = client.get(SCRIPT)
    for value in ("bytes=0-1", f"bytes={ranges[:8000]}", "bytes=-1,0-", "bytes=9999999999-"):
        reply = client.get(SCRIPT, headers={"range": value})
        assert reply.status_code == 200 and reply.content == whole.content


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain", "", "application/xml"],
)
def test_a_body_is_json_or_nothing(client: TestClient, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    reply = client.post("/v1/chat/completions", content=json.dumps(BODY).encode(), headers=headers)
    assert reply.status_code == 415 and reply.json()["error"]["cure"]


def test_no_key_or_word_of_a_question_is_told_to_anyone(home: Home) -> None:
    settings = ServiceSettings(home=home.root, api_key=KEY, reload_seconds=0.05)
    wrong = KEY.replace("5", "6")
    with (
        TestClient(create_app(settings, fake_loader(home)), base_url="http://localhost") as client,
        capture_logs() as lines,
    ):
        right = {"authorization": f"Bearer {KEY}"}
        wait_until(lambda: client.get("/v1/ready").status_code == 200)
        texts = [
            client.get(path, headers=right).text
            for path in ("/v1/info", "/metrics", "/openapi.json", "/v1/models", "/v1/nothing", "/v1/ready")
        ]
        for content in ("canary question", "canary broken", "canary long"):
            body = BODY | {"messages": [{"role": "user", "content": content}]}
            texts += [client.post("/v1/chat/completions", json=body, headers=right).text]
        texts += [client.get("/v1/info", headers={"authorization": f"Bearer {wrong}"}).text]
    told = "".join(texts) + repr(settings) + str([{k: v for k, v in line.items() if k != "exc_info"} for line in lines])
    assert KEY not in told and wrong not in told and "canary" not in told and "secret detail" not in told
    assert len(lines) >= 10


def test_an_exception_is_logged_without_its_words(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    import structlog

    from serving.logs import bare_exceptions, configure_logs

    before = structlog.get_config()
    try:
        configure_logs()
        try:
            try:
                raise ValueError("canary words")
            except ValueError as error:
                raise RuntimeError("canary too") from error
        except RuntimeError:
            structlog.get_logger("x").error("failed", exc_info=True)
    finally:
        structlog.configure(**before)
    line = capsys.readouterr().err
    assert "canary" not in line and "RuntimeError" in line and "ValueError" in line and "test_security.py" in line
    assert bare_exceptions(None, "", {"event": "x"}) == {"event": "x"}


def test_a_request_keeps_its_id_from_end_to_end(client: TestClient) -> None:
    with capture_logs(processors=[]) as lines:
        sent = client.post("/v1/chat/completions", json=BODY, headers={"x-request-id": "mine-42"})
        odd = [
            client.get("/v1/nothing", headers={"x-request-id": value}) for value in ("a b", "x" * 65, b"\xe9", "<b>")
        ]
    assert sent.headers["x-request-id"] == "mine-42"
    assert [line["id"] for line in lines if line["event"] == "request"][0] == "mine-42"
    assert all(re.fullmatch("[0-9a-f]{32}", reply.headers["x-request-id"]) for reply in odd)


def test_the_content_policy_allows_nothing_inline_and_nothing_from_elsewhere(client: TestClient) -> None:
    for path in ("/", "/v1/info", "/v1/nothing", SCRIPT):
        headers = client.get(path).headers
        rules = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
        assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert "unsafe" not in headers["content-security-policy"] and "*" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


def test_a_body_is_counted_as_it_comes(address: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * 65_536

    reply = httpx.post(
        f"{address}/v1/chat/completions",
        content=endless(),
        headers={"content-type": "application/json"},
    )
    assert reply.status_code == 413


def test_the_time_of_a_refusal_does_not_depend_on_the_path(client: TestClient) -> None:
    """Patterns of the table are matched in linear time: a long path is refused at once."""
    started = time.process_time()
    assert client.get("/static/" + "../" * 5000 + "x" * 5000).status_code in (401, 404)
    assert time.process_time() - started < 5


def test_every_setting_is_in_the_manual_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    for name, field in ServiceSettings.model_fields.items():
        value = field.default
        shown = "unset" if value in (None, ()) else str(int(value)) if isinstance(value, bool) else f"{value}"
        assert f"| `RJEPA_{name.upper()}` | {shown.removesuffix('.0')} | {field.description}" in text, name
