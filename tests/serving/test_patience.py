"""Clients that are slow, or leave, or want too long an answer: none of them keeps others waiting."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
from fastapi import FastAPI

from rjepa.home import Home
from serving.app import create_app
from serving.settings import ServiceSettings
from tests.patience import PATIENCE, wait_until

from .fakes import FakeEngine, fake_loader, running, wait_for_release
from .raw import connect, head, question, read_all, read_reply


@pytest.fixture
def app(home: Home, engines: list[FakeEngine]) -> FastAPI:
    settings = ServiceSettings(
        home=home.root,
        reload_seconds=0.05,
        header_seconds=1.0,
        body_seconds=1.0,
        request_seconds=2.0,
        max_connections=64,
        max_in_flight=4,
    )
    return create_app(settings, fake_loader(home, engines))


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    with running(app) as address:
        wait_for_release(app)
        yield address


def ask(address: str, statement: str, **more: object) -> httpx.Response:
    body = {"model": "tiny-a", "messages": [{"role": "user", "content": statement}], **more}
    return httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)


def test_heads_that_never_end_are_cut_off_and_others_are_answered_meanwhile(address: str, app: FastAPI) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(address)) for _ in range(40)]
        for connection in slow:
            connection.sendall(b"GET /v1/health HTTP/1.1\r\nx-a: ")
        assert ask(address, "x").status_code == 200
        assert all(read_all(connection) == b"" for connection in slow)
    assert "rjepa_rejected_total" in httpx.get(f"{address}/metrics").text
    wait_until(lambda: 'reason="header_time"} 40.0' in httpx.get(f"{address}/metrics").text)


def test_a_head_that_trickles_has_no_more_time_than_one_that_stands_still(address: str) -> None:
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(0.1):
            try:
                connection.sendall(b"a")
            except OSError:
                return

    with connect(address) as connection:
        connection.sendall(head("/v1/health", "GET"))
        assert b"200 OK" in read_reply(connection)
        connection.sendall(b"GET /v1/health HTTP/1.1\r\nx-a: ")
        thread = threading.Thread(target=trickle)
        thread.start()
        assert read_all(connection) == b""
        stop.set()
        thread.join()


def test_more_connections_than_there_is_room_for_close_the_longest_silent_ones(address: str) -> None:
    with ExitStack() as stack:
        many = [stack.enter_context(connect(address)) for _ in range(200)]
        assert ask(address, "x").status_code == 200
        assert read_all(many[0]) == b""


def test_bodies_that_never_end_are_told_so_and_take_no_place(address: str) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(address)) for _ in range(20)]
        for number, connection in enumerate(slow):
            length = {"content_length": 1000} if number % 2 else {"transfer_encoding": "chunked"}
            connection.sendall(head(content_type="application/json", **length) + b"2\r\n{ \r\n")
        assert ask(address, "x").status_code == 200
        for connection in slow:
            reply = read_all(connection)
            assert b"408" in reply.partition(b"\r\n")[0] and b'"body_timeout"' in reply


def test_an_answer_that_takes_too_long_is_given_up_and_frees_the_model(address: str, engines: list[FakeEngine]) -> None:
    late = ask(address, "endless")
    assert late.status_code == 504 and late.json()["error"]["code"] == "timeout" and late.json()["error"]["cure"]
    assert engines[-1].closed.wait(PATIENCE)
    engines[-1].closed.clear()
    stream = ask(address, "endless", stream=True)
    events = [line for line in stream.text.splitlines() if line.startswith("data: ")]
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "timeout"
    assert engines[-1].closed.wait(PATIENCE) and ask(address, "x").status_code == 200


def test_who_waits_too_long_for_a_turn_is_told_so_too(address: str, engines: list[FakeEngine]) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, address, "endless one")
        wait_until(lambda: bool(engines[-1].calls))
        second = ask(address, "endless two")
        assert second.status_code == 504 and first.result().status_code == 504
        assert ask(address, "x").status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_while_waiting_is_not_worked_for(
    address: str, app: FastAPI, engines: list[FakeEngine], stream: bool
) -> None:
    with connect(address) as first, connect(address) as second:
        first.sendall(question("endless one", stream=stream))
        wait_until(lambda: bool(engines[-1].calls))
        second.sendall(question("endless two", stream=stream))
        wait_until(lambda: app.state.admission.in_flight == 2)
    wait_until(lambda: app.state.admission.in_flight == 0)
    assert engines[-1].closed.wait(PATIENCE)
    assert ask(address, "x").status_code == 200
    assert [call.statement for call in engines[-1].calls] == ["endless one", "x"]


def test_a_client_that_half_closes_in_mid_stream_frees_the_model(address: str, engines: list[FakeEngine]) -> None:
    with connect(address) as connection:
        connection.sendall(question("endless", stream=True))
        assert b"200 OK" in connection.recv(65_536)
        wait_until(lambda: bool(engines[-1].calls))
        connection.shutdown(1)
        assert engines[-1].closed.wait(PATIENCE)


def test_a_request_that_offers_http_2_is_answered_in_http_1_and_so_is_the_next(address: str) -> None:
    """Java's client and `curl --http2` offer it with the first request of a connection, body and all."""
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQBAAAAAAIAAAAA\r\n\r\n"
    with connect(address) as connection:
        for request in (question("x").replace(b"\r\n\r\n", b"\r\n" + offer, 1), question("x")):
            connection.sendall(request)
            assert b" 200 " in read_reply(connection).partition(b"\r\n")[0]


def test_two_requests_at_once_are_answered_one_after_the_other(address: str) -> None:
    with connect(address) as connection:
        connection.sendall(question("x") + head("/v1/health", "GET", connection="close"))
        assert read_all(connection).count(b" 200 OK\r\n") == 2
