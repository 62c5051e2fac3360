"""A stop finishes what it began, within its grace period."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from rjepa.home import Home
from serving.app import create_app
from serving.settings import ServiceSettings
from tests.patience import PATIENCE, wait_until
from tests.ports import free_port

from .fakes import FakeEngine, fake_loader, stoppable, wait_for_release
from .raw import connect, question, read_all

ROOT = Path(__file__).parents[2]


@pytest.fixture
def make(home: Home, engines: list[FakeEngine]) -> Callable[..., FastAPI]:
    def app(**settings: Any) -> FastAPI:
        whole = ServiceSettings(home=home.root, reload_seconds=0.05, **settings)
        return create_app(whole, fake_loader(home, engines))

    return app


def ask(address: str, statement: str, **more: object) -> httpx.Response:
    body = {"model": "tiny-a", "messages": [{"role": "user", "content": statement}], **more}
    return httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)


def last_event(text: str) -> Any:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return lines[-1] if lines[-1] == "[DONE]" else json.loads(lines[-1])


def test_running_and_waiting_answers_end_and_new_ones_are_refused(make: Callable[..., FastAPI]) -> None:
    app = make(grace_seconds=30)
    with ThreadPoolExecutor(3) as pool:
        with stoppable(app) as (address, server), httpx.Client(base_url=address) as kept:
            wait_for_release(app)
            whole = pool.submit(ask, address, "slow one")
            stream = pool.submit(ask, address, "slow two", stream=True)
            wait_until(lambda: app.state.admission.in_flight == 2)
            server.should_exit = True
            wait_until(lambda: app.state.admission.stopping)
            ready = kept.get("/v1/ready")
            assert ready.status_code == 503 and ready.json()["stopping"] is True
            refused = ask(address, "x")
            assert refused.status_code == 503 and refused.headers["retry-after"] and refused.json()["error"]["cure"]
            assert kept.get("/v1/health").status_code == 200
        assert whole.result().status_code == 200
        assert last_event(stream.result().text) == "[DONE]"


def test_after_the_grace_period_streams_are_told_and_others_too(
    make: Callable[..., FastAPI], engines: list[FakeEngine]
) -> None:
    app = make(grace_seconds=0.3)
    with ThreadPoolExecutor(3) as pool:
        with stoppable(app) as (address, _):
            wait_for_release(app)
            stream = pool.submit(ask, address, "endless one", stream=True)
            wait_until(lambda: bool(engines[-1].calls))
            waiting = pool.submit(ask, address, "endless two", stream=True)
            whole = pool.submit(ask, address, "endless three")
            wait_until(lambda: app.state.admission.in_flight == 3)
        for reply in (stream, waiting):
            error = last_event(reply.result().text)["error"]
            assert error["code"] == "not_ready" and "stopping" in error["message"]
        assert whole.result().status_code == 503
    assert len(engines[-1].calls) == 1


def test_an_idle_service_stops_at_once_whatever_connections_are_open(make: Callable[..., FastAPI]) -> None:
    app = make(grace_seconds=1000)
    with stoppable(app) as (address, _), connect(address), httpx.Client(base_url=address) as kept:
        kept.get("/v1/health")


PROGRAM = """
import sys
from rjepa.home import Home
from serving.app import create_app
from serving.server import GracefulServer
from serving.settings import ServiceSettings
from tests.serving.fakes import fake_loader
home = Home(__import__("pathlib").Path(sys.argv[1]))
settings = ServiceSettings(home=home.root, port=int(sys.argv[2]), reload_seconds=0.05, grace_seconds=float(sys.argv[3]))
GracefulServer(create_app(settings, fake_loader(home)), settings).run()
"""


@pytest.fixture
def start(home: Home, tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], str]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(port: int, grace: float = 30) -> tuple[subprocess.Popen[bytes], str]:
        command = [sys.executable, "-c", PROGRAM, str(home.root), str(port), str(grace)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
        started.append(process)
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: _is_ready(address), 120)
        return process, address

    yield start
    for process in started:
        process.kill()
        process.wait()


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/v1/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_sigterm_in_a_stream_lets_it_end_and_then_the_process_ends(
    start: Callable[..., tuple[subprocess.Popen[bytes], str]],
) -> None:
    process, address = start(free_port())
    with connect(address) as connection:
        connection.sendall(question("slow", stream=True))
        assert b"200 OK" in connection.recv(65_536)
        process.send_signal(signal.SIGTERM)
        assert b"data: [DONE]" in read_all(connection)
    assert process.wait(PATIENCE) in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_sigkill_under_load_loses_the_answers_and_nothing_else(
    start: Callable[..., tuple[subprocess.Popen[bytes], str]], home: Home
) -> None:
    port = free_port()
    process, address = start(port)
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, address, f"slow {number}") for number in range(6)]
        wait_until(lambda: "rjepa_in_flight 6.0" in httpx.get(f"{address}/metrics").text)
        process.kill()
        process.wait()
        for one in asked:
            with pytest.raises(httpx.TransportError):
                one.result()
    before = sorted(path for path in home.root.rglob("*") if "tmp" in path.name)
    _, address = start(port)
    assert ask(address, "x").status_code == 200 and before == []
