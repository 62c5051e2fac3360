"""`rjepa up`, for real: both servers answer, and no process outlives it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.2)


class Up:
    """A running `rjepa up` with the addresses it was given."""

    def __init__(self, home: Path) -> None:
        self.ui, self.service = free_port(), free_port()
        self.log = home / "up.log"
        environment = {"RJEPA_HOME": str(home), "RJEPA_PORT": str(self.service), "RJEPA_DAGSTER_PORT": str(self.ui)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rjepa.cli.main", "up"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )

    def family(self) -> list[psutil.Process]:
        me = psutil.Process(self.process.pid)
        return [me, *me.children(recursive=True)]

    def printed(self, text: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return text in self.log.read_text()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    started = Up(tmp_path)
    yield started
    if started.process.poll() is None:
        started.process.send_signal(signal.SIGTERM)
        started.process.wait(60)


def left_of(family: list[psutil.Process]) -> list[str]:
    _, alive = psutil.wait_procs(family, timeout=10)
    return [f"{process.pid} {process.status()}" for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_ui_and_service_answer_and_ctrl_c_stops_all_of_it(up: Up) -> None:
    wait_for(lambda: up.printed("Ctrl-C stops both."), 180, "both addresses")
    with urllib.request.urlopen(f"http://127.0.0.1:{up.ui}/server_info", timeout=10) as answer:
        assert b"dagster_version" in answer.read()
    with urllib.request.urlopen(f"http://127.0.0.1:{up.service}/v1/health", timeout=10) as answer:
        assert answer.status == 200
    family = up.family()
    assert len(family) >= 5
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 130
    assert left_of(family) == []
    assert "Traceback" not in up.log.read_text()


def test_a_stop_while_it_starts_leaves_nothing_behind(up: Up) -> None:
    wait_for(lambda: len(up.family()) >= 4, 60, "children")
    family = up.family()
    up.process.send_signal(signal.SIGTERM)
    up.process.wait(60)
    assert left_of(family) == []


def test_a_port_in_use_is_refused_with_a_cure(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "rjepa.cli.main", "up"],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "RJEPA_HOME": str(tmp_path), "RJEPA_DAGSTER_PORT": port},
        )
    assert done.returncode == 1
    assert "set RJEPA_DAGSTER_PORT" in done.stderr and "Traceback" not in done.stderr
