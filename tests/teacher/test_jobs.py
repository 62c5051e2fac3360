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
from sqlalchemy import select

from rjepa.database import open_database
from rjepa.home import Home
from rjepa.teacher import JobPlan, job_spending, run_job, tables
from rjepa.teacher.jobs import job_folder

from .conftest import KEY, problems, teacher
from .scripted import Answer, Request, chain, completion

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


def calls(home: Home) -> list[Any]:
    with open_database(home) as database, database.reading() as connection:
        return list(connection.execute(select(tables.CALLS)))


def sums(home: Home) -> tuple[int, int]:
    """What the job's row says it has spent and reserved."""
    with open_database(home) as database, database.reading() as connection:
        row = connection.execute(select(tables.JOBS.c.spent_nano, tables.JOBS.c.reserved_nano)).one()
    return row.spent_nano, row.reserved_nano


def misbehaving(asked: Request) -> Answer:
    """One call in twenty goes wrong the first time, each in its way; the key decides which."""
    luck = int(asked.key[:4], 16) % 100
    good = chain(steps=[f"3 + 4 = 7, way {asked.sample}"])
    if asked.times > 1:
        return good
    soon = {"retry-after-ms": "10"}
    if luck == 0:
        return Answer("{}", 429, soon)
    if luck == 1:
        return Answer("{}", 500, soon)
    if luck == 2:
        return Answer(good.body, cut=30)
    if luck == 3 and len(asked.body["messages"]) == 2:
        return Answer(completion('{"steps": ["3 + 4'))
    if luck == 4 and len(asked.body["messages"]) == 2:
        return Answer(completion(f'{{"answer": "{KEY}"}}'))
    return good


@pytest.mark.slow
def test_two_thousand_calls_killed_half_way_lose_nothing_and_pay_nothing_twice(serve: Any, home: Home) -> None:
    server = serve(misbehaving)
    process = start(server, home)
    try:
        deadline = time.monotonic() + 120
        while sum(server.answered.values()) < CALLS // 2:
            assert time.monotonic() < deadline and process.poll() is None, "the job ended before its time"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = calls(home)
    kept = {call.key for call in before if call.state == "replied"}
    caught = {call.key for call in before if call.state == "open"}
    killed_at = len(server.asked)
    assert CALLS // 4 < len(kept) < CALLS
    in_doubt = job_spending(home, "big")[0]
    assert in_doubt.in_flight == len(caught) > 0 and in_doubt.doubtful > 0

    process = start(server, home)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, (home.root.parent / "log.txt").read_text()[-3000:]
    assert output.split() == [str(CALLS), "0"], "every problem has two distinct chains of every teacher"

    after = server.asked[killed_at:]
    assert not {asked.key for asked in after} & kept, "what was answered and written down is never asked again"
    twice = {key for key, times in server.answered.items() if times > 1}
    assert twice <= caught, "only what the kill caught in flight was answered twice"
    assert set(server.billed.values()) == {1}, "and the idempotency key shows the endpoint that it is the same call"
    after_all = calls(home)
    replies = Counter(call.key for call in after_all if call.state == "replied")
    assert set(replies.values()) == {1} and set(replies) == set(server.billed)
    assert {call.key for call in after_all if call.state == "lost"} == caught
    total, _ = job_spending(home, "big")
    assert total.replies == len(replies) and total.in_flight == 0
    assert total.doubtful >= in_doubt.doubtful, "a reservation that the kill left open stays counted"
    assert sums(home) == (total.spent, 0), "the sums beside the calls are theirs"

    written = [path for path in home.root.parent.rglob("*") if path.is_file()]
    assert {"log.txt", "rjepa.db", "chains.parquet", "report.json"} <= {path.name for path in written}
    assert all(KEY.encode() not in path.read_bytes() for path in written)
    assert (
        any("[key]" in (call.reply or "") for call in after_all)
        and len((home.root.parent / "log.txt").read_text()) > 10_000
    )


def test_a_resumed_job_ends_with_the_records_of_an_uninterrupted_one(serve: Any, home: Home) -> None:
    server = serve(lambda asked: chain(steps=[f"way {asked.sample}"]))
    who = [teacher(server), teacher(server, "ben")]
    first = run_job(home, "job", who, JobPlan(chains_per_problem=2, judge=False), problems(5), budget_usd=5)
    files = {path: path.read_bytes() for path in job_folder(home, "job").glob("*.parquet")}
    again = run_job(home, "job", who, JobPlan(chains_per_problem=2, judge=False), problems(5), budget_usd=5)
    assert again.chains == first.chains and again.events == {"from_ledger": 20}
    assert {path: path.read_bytes() for path in files} == files
    larger = run_job(home, "job", who, JobPlan(chains_per_problem=3), problems(6), budget_usd=5)
    assert len(larger.chains) == 36 and len(server.asked) == 36


def test_opinions_come_from_another_teacher_where_there_is_one(serve: Any, home: Home) -> None:
    def script(asked: Request) -> Answer:
        if "worked solution" in asked.prompt:
            return Answer(completion(json.dumps({"verdict": "unsure", "first_wrong_step": None, "reason": ""})))
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
    server = serve(lambda asked: Answer("{}", 500, {"retry-after-ms": "1"}) if asked.times == 1 else chain())
    run_job(home, "job", [teacher(server)], JobPlan(chains_per_problem=1), problems(1), budget_usd=5)
    assert "Retrying" in caplog.text and KEY not in caplog.text
