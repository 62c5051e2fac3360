import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from rjepa.home import Home
from serving.app import create_app
from serving.settings import ServiceSettings

from .fakes import fake_loader, publish, ready


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One service for all of these: a refused request leaves nothing behind."""
    home = Home(tmp_path_factory.mktemp("home"))
    publish(home, 1)
    app = create_app(ServiceSettings(home=home.root, _env_file=None), fake_loader(home))
    with ready(app) as client:
        yield client


QUESTION = {"role": "user", "content": "How many has Tom?"}


def ask(client: TestClient, **changes: Any) -> Any:
    return client.post("/v1/chat/completions", json={"model": "tiny-a", "messages": [QUESTION]} | changes)


BAD: dict[str, tuple[dict[str, Any], str | None]] = {
    "no messages": ({"messages": []}, "messages"),
    "messages of another type": ({"messages": "hello"}, "messages"),
    "empty content": ({"messages": [{"role": "user", "content": "  "}]}, "messages"),
    "no user message": ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
    "an image": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.content"),
    "a sound": ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.content"),
    "unknown role": ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.role"),
    "a problem too long for the student": ({"messages": [{"role": "user", "content": "long"}]}, None),
    "no candidates": ({"rjepa": {"mode": "rerank", "num_candidates": 0}}, "rjepa.num_candidates"),
    "10 000 candidates": ({"rjepa": {"mode": "rerank", "num_candidates": 10_000}}, "rjepa.num_candidates"),
    "candidates as text": ({"rjepa": {"mode": "rerank", "num_candidates": "8"}}, "rjepa.num_candidates"),
    "true candidates": ({"rjepa": {"mode": "rerank", "num_candidates": True}}, "rjepa.num_candidates"),
    "more choices than candidates": (
        {"n": 4, "rjepa": {"mode": "rerank", "num_candidates": 3}},
        "rjepa.num_candidates",
    ),
    "unknown mode": ({"rjepa": {"mode": "telepathy"}}, "rjepa.mode"),
    "two modes": ({"model": "tiny-a:rerank", "rjepa": {"mode": "off"}}, "rjepa.mode"),
    "unknown rjepa field": ({"rjepa": {"mod": "off"}}, "rjepa.mod"),
    "no choices": ({"n": 0}, "n"),
    "too many choices": ({"n": 1000}, "n"),
    "no tokens": ({"max_tokens": 0}, "max_tokens"),
    "half a token": ({"max_tokens": 0.5}, "max_tokens"),
    "hot": ({"temperature": 3}, "temperature"),
    "warm as text": ({"temperature": "0.7"}, "temperature"),
    "negative rjepa seed": ({"rjepa": {"seed": -1}}, "rjepa.seed"),
    "JSON mode": ({"response_format": {"type": "json_object"}}, "response_format"),
    "a JSON schema": ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
    "speech": ({"modalities": ["text", "audio"]}, "modalities"),
    "a tool that has to be called": ({"tool_choice": "required"}, "tool_choice"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_with_a_cure(client: TestClient, name: str) -> None:
    changes, param = BAD[name]
    reply = ask(client, **changes)
    error = reply.json()["error"]
    assert reply.status_code == 400 and set(error) == {"message", "type", "param", "code", "cure"}
    assert error["type"] == "invalid_request_error" and error["cure"] and error["cure"] in error["message"]
    assert error["param"] == param or (param and error["param"].startswith(param))


def test_an_unknown_model_is_not_found(client: TestClient) -> None:
    assert ask(client, model="gpt-5").status_code == 404


RAW = [b"", b"{", b"null", b"[]", b"[" * 100_000, b"\xff\xfe", b'{"model": NaN}', b'"text"', b'{"messages": [[]]}']


@pytest.mark.parametrize("body", RAW, ids=range(len(RAW)))
def test_a_body_that_is_no_request_is_a_400(client: TestClient, body: bytes) -> None:
    reply = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400 and reply.json()["error"]["cure"]


def test_a_lone_surrogate_is_a_400(client: TestClient) -> None:
    body = '{"model": "tiny-a", "messages": [{"role": "user", "content": "\\ud800"}]}'
    reply = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400


def test_a_nan_temperature_is_a_400(client: TestClient) -> None:
    body = json.dumps({"model": "tiny-a", "messages": [QUESTION], "temperature": float("nan")})
    reply = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400


def test_what_was_sent_is_not_echoed(client: TestClient) -> None:
    reply = ask(client, messages=[{"role": "user", "content": 12345678}], temperature="private words")
    assert "12345678" not in reply.text and "private" not in reply.text


def test_an_unknown_route_and_method_have_the_same_shape(client: TestClient) -> None:
    assert client.get("/v1/nothing").json()["error"]["code"] == "http_404"
    assert client.delete("/v1/chat/completions").json()["error"]["code"] == "http_405"


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/models", "/v1/models"),
    ],
)
def test_a_client_with_another_base_url_is_told_which(client: TestClient, path: str, meant: str) -> None:
    reply = client.post(path, json={})
    assert reply.status_code == 404 and f"use {meant}: a client's base_url" in reply.json()["error"]["cure"]


@pytest.mark.parametrize("path", ["/", "/v1/models", "/v1/health", "/metrics", "/static/chat.css"])
def test_head_gets_the_headers_of_get_and_no_body(client: TestClient, path: str) -> None:
    head, whole = client.head(path), client.get(path)
    assert head.status_code == whole.status_code == 200 and head.content == b"" and whole.content
    assert head.headers["content-type"] == whole.headers["content-type"]


def test_head_of_what_has_no_get_is_no_request_for_an_answer(client: TestClient) -> None:
    assert client.head("/v1/chat/completions").status_code == 405


def test_a_text_too_long_has_the_code_that_clients_shorten_a_conversation_for(client: TestClient) -> None:
    error = ask(client, messages=[{"role": "user", "content": "long"}]).json()["error"]
    assert error["code"] == "context_length_exceeded"


def test_a_compressed_body_is_refused_by_name(client: TestClient) -> None:
    head = {"content-type": "application/json", "content-encoding": "gzip"}
    reply = client.post("/v1/chat/completions", content=gzip.compress(b"{}"), headers=head)
    assert reply.status_code == 415 and "content-encoding" in reply.json()["error"]["cure"]
