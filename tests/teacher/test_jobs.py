"""Four teachers at once, two thousand calls, `kill -9` half-way: nothing lost, nothing paid twice, no key anywhere."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rjepa.home import Home
from rjepa.teacher import JobPlan, job_spending, run_job
from rjepa.teacher.calls import JOURNAL
from rjepa.teacher.jobs import job_folder
from rjepa.teacher.journal import read_entries

from .conftest import KEY, problems, teacher
from .scripted import Asked, Says, chain, completion

ROOT = Path(__file__).resolve().parents[2]
TEACHERS = ("ada", "ben", "cy", "dot")
PROBLEMS = 250
CALLS = len(TEACHERS) * PROBLEMS * 2

_JOB = """
import logging, sys
from pathlib import Path
from rjepa.home import Home
from rjepa.teacher import JobPlan, load_teachers, run_job
from tests.teacher.conftest import problems
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
for name in ("asyncio", "httpcore2"):
    logging.getLogger(name).setLevel(logging.WARNING)
home = Home(Path(sys.argv[1]))
teachers = load_teachers(env_file=None).choose(sys.argv[2].split(","))
result = run_job(home, "big", teachers, JobPlan(chains_per_problem=2), problems(int(sys.argv[3])), budget_usd=50)
print(len(result.chains), len(result.failures))
"""


def start(server: Any, home: Home) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TEACHER_")}
    for name in TEACHERS:
        env |= {
            f"TEACHER_{name.upper()}_BASE_URL": server.url,
            f"TEACHER_{name.upper()}_MODEL": f"model-{name}",
            f"TEACHER_{name.upper()}_API_KEY": KEY,
            f"TEACHER_{name.upper()}_USD_PER_MTOK_IN": "1",
            f"TEACHER_{name.upper()}_USD_PER_MTOK_OUT": "1",
            f"TEACHER_{name.upper()}_CONCURRENCY": "16",
        }
    log = (home.root.parent / "log.txt").open("a")
    command = [sys.executable, "-c", _JOB, str(home.root), ",".join(TEACHERS), str(PROBLEMS)]
    with log:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=env, cwd=ROOT)


def misbehaving(asked: Asked) -> Says:
    """One call in twenty goes wrong the first time, each in its way; the key decides which."""
    luck = int(asked.key[:4], 16) % 100
    good = chain(steps=[f"3 + 4 = 7, way {asked.sample}"])
    if asked.times > 1:
        return good
    soon = {"retry-after-ms": "10"}
    if luck == 0:
        return Says("{}", 429, soon)
    if luck == 1:
        return Says("{}", 500, soon)
    if luck == 2:
        return Says(good.body, cut=30)
    if luck == 3 and len(asked.body["messages"]) == 2:
        return Says(completion('{"steps": ["3 + 4'))
    if luck == 4 and len(asked.body["messages"]) == 2:
        return Says(completion(f'{{"answer": "{KEY}"}}'))
    return good


def test_two_thousand_calls_killed_half_way_lose_nothing_and_pay_nothing_twice(serve: Any, home: Home) -> None:
    server = serve(misbehaving)
    journal = job_folder(home, "big") / JOURNAL
    process = start(server, home)
    try:
        deadline = time.monotonic() + 120
        while sum(server.answered.values()) < CALLS // 2:
            assert time.monotonic() < deadline and process.poll() is None, "the job ended before its time"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = [entry for entry, _ in read_entries(journal)]
    kept = {entry["key"] for entry in before if entry["event"] == "replied"}
    caught = {entry["key"] for entry in before if entry["event"] == "reserved"} - kept
    killed_at = len(server.asked)
    assert CALLS // 4 < len(kept) < CALLS
    in_doubt = job_spending(home, "big")[0]
    assert in_doubt.in_flight == len(caught) > 0 and in_doubt.doubtful > 0

    process = start(server, home)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, (home.root.parent / "log.txt").read_text()[-3000:]
    assert said.split() == [str(CALLS), "0"], "every problem has two distinct chains of every teacher"

    after = server.asked[killed_at:]
    assert not {asked.key for asked in after} & kept, "what was answered and written down is never asked again"
    twice = {key for key, times in server.answered.items() if times > 1}
    assert twice <= caught, "only what the kill caught in flight was answered twice"
    assert set(server.billed.values()) == {1}, "and the idempotency key shows the endpoint that it is the same call"
    entries = [entry for entry, _ in read_entries(journal)]
    replies = Counter(entry["key"] for entry in entries if entry["event"] == "replied")
    assert set(replies.values()) == {1} and set(replies) == set(server.billed)
    total, _ = job_spending(home, "big")
    assert total.replies == len(replies) and total.in_flight == 0
    assert total.doubtful >= in_doubt.doubtful, "a reservation that the kill left open stays counted"
    reserved = Counter(entry["key"] for entry in entries if entry["event"] == "reserved")
    assert {key for key, times in reserved.items() if times > 1} == caught

    written = [path for path in home.root.parent.rglob("*") if path.is_file()]
    assert {"log.txt", "calls.jsonl", "chains.parquet", "report.json"} <= {path.name for path in written}
    assert all(KEY.encode() not in path.read_bytes() for path in written)
    assert "[key]" in journal.read_text() and len((home.root.parent / "log.txt").read_text()) > 10_000


def test_a_resumed_job_ends_with_the_records_of_an_uninterrupted_one(serve: Any, home: Home) -> None:
    server = serve(lambda asked: chain(steps=[f"way {asked.sample}"]))
    who = [teacher(server), teacher(server, "ben")]
    first = run_job(home, "job", who, JobPlan(chains_per_problem=2, judge=False), problems(5), budget_usd=5)
    files = {path: path.read_bytes() for path in job_folder(home, "job").glob("*.parquet")}
    again = run_job(home, "job", who, JobPlan(chains_per_problem=2, judge=False), problems(5), budget_usd=5)
    assert again.chains == first.chains and again.events == {"from_journal": 20}
    assert {path: path.read_bytes() for path in files} == files
    larger = run_job(home, "job", who, JobPlan(chains_per_problem=3), problems(6), budget_usd=5)
    assert len(larger.chains) == 36 and len(server.asked) == 36


def test_opinions_come_from_another_teacher_where_there_is_one(serve: Any, home: Home) -> None:
    def script(asked: Asked) -> Says:
        if "worked solution" in asked.prompt:
            return Says(completion(json.dumps({"verdict": "unsure", "first_wrong_step": None, "reason": ""})))
        return chain()

    server = serve(script)
    plan = JobPlan(chains_per_problem=1, judge=True)
    result = run_job(home, "job", [teacher(server), teacher(server, "ben")], plan, problems(2), budget_usd=5)
    assert len(result.chains) == 4
    for one in result.chains:
        assert {one.meta["teacher"], one.meta["opinion"]["teacher"]} == {"ada", "ben"}


def test_no_log_line_of_any_library_has_the_key(serve: Any, home: Home, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx2", "httpcore2", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, name)
    server = serve(lambda asked: Says("{}", 500, {"retry-after-ms": "1"}) if asked.times == 1 else chain())
    run_job(home, "job", [teacher(server)], JobPlan(chains_per_problem=1), problems(1), budget_usd=5)
    assert "Retrying" in caplog.text and KEY not in caplog.text
