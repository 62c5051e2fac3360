"""Feedback upon two service processes and one database, one of them killed the moment that it has answered."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from rjepa.database import open_database
from rjepa.feedback.audit import read_audit
from rjepa.feedback.interactions import find
from rjepa.feedback.votes import list_votes
from rjepa.home import Home

ROOT = Path(__file__).parents[2]
MESSAGES = [{"role": "user", "content": "How many has Tom?"}]

Start = Callable[[], tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start(home: Home, tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "tests.serving.feedback_server", str(home.root)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        address = next((line.strip() for line in process.stdout if line.startswith("http")), "")
        assert address, "the service did not start"
        return process, address

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.slow
def test_a_vote_that_was_answered_outlives_a_kill_and_another_process_goes_on(
    each_database: str, home: Home, start: Start
) -> None:
    first, one = start()
    _, two = start()
    asked = {"model": "tiny-a", "messages": MESSAGES, "rjepa": {"mode": "rerank"}}
    reply = httpx.post(f"{one}/v1/chat/completions", json=asked, timeout=60).json()
    voted = httpx.post(f"{one}/v1/feedback", json={"id": reply["id"], "vote": "up", "consent": True}, timeout=60)
    first.send_signal(signal.SIGKILL)
    assert voted.status_code == 200 and voted.json()["kept"]
    first.wait()
    seen = httpx.get(f"{two}/v1/feedback/{reply['id']}", timeout=60).json()
    assert (seen["vote"], seen["kept"]) == ("up", True)
    changed = httpx.post(f"{two}/v1/feedback", json={"id": reply["id"], "vote": "down"}, timeout=60)
    assert changed.json()["vote"] == "down"
    with open_database(home) as database:
        kept = find(database, reply["id"])
        assert kept is not None and kept.content is not None and kept.content.final_answer == "17"
        assert [vote.vote for vote in list_votes(database)] == ["down"]
        assert [entry.what for entry in read_audit(database)] == ["kept", "voted", "voted"]
