"""What a service lives through: garbage, a full disk, damaged releases, a monitor without Dagster."""

import gc
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from rjepa.engine import Engine
from rjepa.home import Home
from rjepa.releases.bundle import release_folder
from rjepa.students.loading import Student
from serving.app import create_app
from serving.settings import ServiceSettings
from tests.patience import wait_until
from tests.tiny_release import STATEMENT, TAG

from .fakes import fake_loader, publish, running, wait_for_release
from .raw import connect, head, question

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = Home(tmp_path_factory.mktemp("home"))
    publish(home, 1)
    settings = ServiceSettings(
        home=home.root, reload_seconds=0.5, header_seconds=2, dagster_url=NOWHERE, _env_file=None
    )
    app = create_app(settings, fake_loader(home))
    with running(app) as address:
        wait_for_release(app)
        yield address


def with_body(data: bytes, kind: str = "application/json") -> bytes:
    return head(content_type=kind, content_length=len(data)) + data


def garbage(rng: random.Random) -> bytes:
    """Bytes that somebody may send to a port."""
    path = rng.choice(["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/models/x", "/", "/static/x"])
    noise = rng.randbytes(rng.randrange(200))
    deep = rng.choice([b"[", b'{"a":']) * 10_000
    value = rng.choice(['"x"', "1e999", "NaN", "-Infinity", "9" * 5000, "[]", "{}", "null", "true", '"\\ud800"'])
    field = rng.choice(
        ["model", "messages", "max_tokens", "temperature", "seed", "stop", "n", "stream", "rjepa", "tools"]
    )
    one = (
        json.dumps({"model": "tiny-a", "messages": [{"role": "user", "content": "x"}]})[:-1] + f', "{field}": {value}}}'
    )
    return rng.choice(
        [
            noise,
            noise + b"\r\n\r\n",
            b"GET " + noise + b" HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            head(path, rng.choice(["GET", "PUT", "TRACE", "BREW", "OPTIONS", "DELETE", "get", "CONNECT"])),
            head(path, "GET", x="y" * 40_000),
            head(path, "GET") + b"GET",
            head(path + "%00%ff/../" + "a" * 2000, "GET"),
            head("//evil.example/v1/health", "GET"),
            head("http://evil.example/v1/info", "GET"),
            head(path, "GET", host="evil.example"),
            head(path, content_length="-1"),
            head(path, content_length="99999999999999999999") + b"{}",
            head(path, content_length="1, 2") + b"{}",
            head(path, transfer_encoding="chunked", content_type="application/json") + b"zz\r\n{}\r\n",
            head(path, transfer_encoding="chunked", content_length="5", content_type="application/json") + b"0\r\n\r\n",
            head(path, "GET", upgrade="websocket", connection="upgrade"),
            head(path, "GET", range="bytes=0-0,1-1,2-", authorization="Bearer " + "x" * 5000),
            with_body(noise),
            with_body(deep),
            with_body(b"\xff\xfe" + noise),
            with_body(one.encode()),
            with_body(value.encode()),
            with_body(one.encode(), "multipart/form-data; boundary=x"),
            with_body(b" " * rng.randrange(20_000)),
            question("x", max_tokens=rng.choice([-1, 0, 10**30, "many", [1]])),
            question("x", messages=rng.choice([[], [[]], {}, "x", [{"role": "user"}], [{"role": 5, "content": None}]])),
        ]
    )


def send(address: str, data: bytes) -> list[int]:
    """Status codes of what comes back before the service closes or is silent."""
    with connect(address) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        connection.settimeout(20)
        parts = []
        try:
            while part := connection.recv(65_536):
                parts.append(part)
        except OSError:
            pass
    reply = b"".join(parts)
    return [int(line[9:12]) for line in reply.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


@pytest.mark.slow
def test_ten_thousand_garbage_requests_are_no_fault_of_ours_and_leave_nothing(address: str) -> None:
    rng, process, counts = random.Random(7), psutil.Process(), {}
    before = 0
    for number in range(10_000):
        if number == 3_000:
            gc.collect()
            before = process.memory_info().rss
        data = garbage(rng)
        for status in send(address, data):
            assert status < 500, (status, data[:300])
            counts[status] = counts.get(status, 0) + 1
    gc.collect()
    grown = (process.memory_info().rss - before) / 2**20
    assert grown < 24, f"{grown:.1f} MB more after 7 000 requests"
    assert counts[400] > 1000 and {404, 405, 413, 415} - {413} <= set(counts)
    assert httpx.post(
        f"{address}/v1/chat/completions", json=json.loads(question("x").partition(b"\r\n\r\n")[2])
    ).is_success
    # The reply may come before the connection is gone; no task or connection stays.
    wait_until(lambda: len([one for one in process.net_connections() if one.status == "ESTABLISHED"]) <= 2)


@pytest.mark.slow
def test_a_full_disk_is_told_of_and_the_service_goes_on(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    publish(home, 1)
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), -1));"
        "from rjepa.cli.main import main; main()"
    )

    def create(limit: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, str(limit), "keys", "create", "alice"]
        environment = {**os.environ, "RJEPA_HOME": str(home.root), "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    key = "5b1d7f6c08e24a93b7d1c2f0a9e8d7c6"
    settings = ServiceSettings(home=home.root, reload_seconds=0.05, api_key=key, require_key=True, _env_file=None)
    app = create_app(settings, fake_loader(home))
    with running(app) as address:
        wait_for_release(app)
        full = create(8192)
        assert full.returncode == 1 and full.stdout == "" and "free some space" in full.stderr
        assert ask_fake(address, key) == 200
        assert ask_fake(address, "rjepa_" + "0" * 12 + "_" + "x" * 43) == 401
        made = create(resource.RLIM_INFINITY)
        assert made.returncode == 0, made.stderr
        wait_until(lambda: ask_fake(address, made.stdout.strip()) == 200)


def ask_fake(address: str, key: str) -> int:
    body = {"model": "tiny-a", "messages": [{"role": "user", "content": "x"}]}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{address}/v1/chat/completions", json=body, headers=headers, timeout=60).status_code


@pytest.mark.slow
def test_a_release_whose_bytes_are_flipped_is_served_on_as_it_was_and_loaded_no_more(
    tiny_release: tuple[Home, Student], tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(tiny_release[0].root, home.root, symlinks=True)
    settings = ServiceSettings(home=home.root, llm=TAG, reload_seconds=0.05, api_key=None, _env_file=None)
    body = {
        "model": TAG,
        "messages": [{"role": "user", "content": STATEMENT}],
        "rjepa": {"mode": "rerank", "num_candidates": 4, "seed": 5},
    }
    app = create_app(settings)
    with running(app) as address:
        wait_for_release(app)

        def energies() -> list[list[float]]:
            reply = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=120)
            assert reply.status_code == 200, reply.text
            return [one["step_energies"] for one in reply.json()["rjepa"]["candidates"]]

        before = energies()
        engine = app.state.host.state.engine
        assert isinstance(engine, Engine)
        for path in release_folder(home, TAG, engine.release_id).rglob("*.safetensors"):
            flip(path)
        assert energies() == before
        assert httpx.get(f"{address}/v1/ready").status_code == 200
    again = create_app(settings)
    with running(again) as address:
        wait_until(lambda: again.state.host.state.reload == "failed", 120)
        ready = httpx.get(f"{address}/v1/ready")
        refused = httpx.post(f"{address}/v1/chat/completions", json=body)
        error = httpx.get(f"{address}/v1/info").json()["error"]
    assert ready.status_code == refused.status_code == 503
    assert ".safetensors" in error["problem"] and error["cure"] and error["cure"] in refused.json()["error"]["message"]


def flip(path: Path) -> None:
    """Change the second half of a file in place, whatever its permissions say."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(size // 2)
        rest = file.read()
        file.seek(size // 2)
        file.write(bytes(byte ^ 0x55 for byte in rest))


def test_without_dagster_questions_are_answered_and_the_monitor_says_so(address: str) -> None:
    assert ask_fake(address, "none") == 200
    state = httpx.get(f"{address}/v1/monitor/state", timeout=60)
    assert state.status_code == 200 and state.json()["runs"] is None
