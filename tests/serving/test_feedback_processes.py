"""Feedback upon two service processes and one database, one of them killed the moment that it has answered."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from rjepa.database import open_database
from rjepa.feedback.audit import read_audit
from rjepa.feedback.interactions import find
from rjepa.feedback.votes import list_votes
from rjepa.home import Home
from tests.patience import wait_until

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


def vote(address: str, answer: str) -> bool:
    """Whether a vote with consent was acknowledged, before the service was gone."""
    try:
        voted = httpx.post(f"{address}/v1/feedback", json={"id": answer, "vote": "up", "consent": True}, timeout=60)
    except httpx.TransportError:
        return False
    assert voted.status_code == 200 and voted.json()["kept"]
    return True


@pytest.mark.slow
def test_votes_that_were_answered_outlive_a_kill_under_load_and_another_process_goes_on(
    each_database: str, home: Home, start: Start
) -> None:
    first, one = start()
    _, two = start()
    asked = {"model": "tiny-a", "messages": MESSAGES, "rjepa": {"mode": "rerank"}}
    with httpx.Client(base_url=one, timeout=60) as client:
        answers = [client.post("/v1/chat/completions", json=asked).json()["id"] for _ in range(24)]
    with ThreadPoolExecutor(6) as pool:
        voting = [pool.submit(vote, one, answer) for answer in answers]
        wait_until(lambda: sum(each.done() for each in voting) >= 4)
        first.send_signal(signal.SIGKILL)
        acknowledged = [answer for answer, each in zip(answers, voting, strict=True) if each.result()]
    first.wait()
    assert len(acknowledged) >= 4
    for answer in acknowledged:
        seen = httpx.get(f"{two}/v1/feedback/{answer}", timeout=60).json()
        assert (seen["vote"], seen["kept"]) == ("up", True)
    chosen = acknowledged[0]
    changed = httpx.post(f"{two}/v1/feedback", json={"id": chosen, "vote": "down"}, timeout=60)
    assert changed.json()["vote"] == "down"
    with open_database(home) as database:
        votes = {each.interaction_id: each.vote for each in list_votes(database)}
        assert votes[chosen] == "down" and set(acknowledged) <= votes.keys()
        for answer in acknowledged:
            kept = find(database, answer)
            assert kept is not None and kept.content is not None and kept.content.final_answer == "17"
            whats = [entry.what for entry in read_audit(database, answer)]
            assert whats == ["kept", "voted", *(["voted"] if answer == chosen else [])]
