"""A job that is killed again and again, and two processes upon one job: on SQLite and on a real Postgres."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from rjepa.database import open_database
from rjepa.home import Home
from rjepa.teacher import JobPlan, job_spending, run_job
from rjepa.teacher.tables import CALLS, JOBS

from .conftest import KEY, problems, teacher
from .scripted import Answer, Request, chain

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
_JOB = """
import sys
from pathlib import Path
from rjepa.home import Home
from rjepa.teacher import JobPlan, run_job
from tests.teacher.conftest import problems, teacher
class Server: url = sys.argv[2]
budget = float(sys.argv[4])
who = [teacher(Server, concurrency=8, max_retries=0)]
print("ready", flush=True)
sys.stdin.readline()
result = run_job(Home(Path(sys.argv[1])), "job", who, JobPlan(chains_per_problem=1), problems(int(sys.argv[3])), budget_usd=budget)
print(len(result.chains), result.stopped is not None, flush=True)
"""  # noqa: E501


def job(home: Home, server: Any, count: int, budget: float = 50) -> "subprocess.Popen[str]":
    """A process that is ready to run the job once a line comes."""
    command = [sys.executable, "-c", _JOB, str(home.root), server.url, str(count), str(budget)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def rows(home: Home) -> list[Any]:
    with open_database(home) as database, database.reading() as connection:
        return list(connection.execute(select(CALLS)))


def check_sums(home: Home) -> None:
    """The sums in the job's row are those of its calls."""
    with open_database(home) as database, database.reading() as connection:
        found = connection.execute(select(JOBS.c.spent_nano, JOBS.c.reserved_nano)).one_or_none()
        settled = connection.execute(select(func.sum(CALLS.c.cost_nano)).where(CALLS.c.state != "open")).scalar() or 0
        is_open = CALLS.c.state == "open"
        reserved = connection.execute(select(func.sum(CALLS.c.reserved_nano)).where(is_open)).scalar() or 0
    assert (found is None and settled == reserved == 0) or tuple(found) == (settled, reserved)


def test_a_job_that_is_killed_again_and_again_pays_nothing_twice_and_loses_nothing(
    each_database: str, serve: Any, home: Home
) -> None:
    server = serve(lambda asked: chain(steps=[f"way {asked.key}"], delay=0.01))
    for enough in (0, 1, 20, 21, 55):
        process = job(home, server, 60)
        go(process)
        deadline = time.monotonic() + 60
        while len(server.asked) < enough:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if each_database == "sqlite" and not home.database.exists():
            continue  # killed before it began
        check_sums(home)
        kept = {call.key for call in rows(home) if call.state == "replied"}
        assert kept <= set(server.answered)
    asked_before = {request.key for request in server.asked}
    kept = {call.key for call in rows(home) if call.state == "replied"}
    number = len(server.asked)
    result = run_job(
        home, "job", [teacher(server, max_retries=0)], JobPlan(chains_per_problem=1), problems(60), budget_usd=50
    )
    assert len(result.chains) == 60 and not result.failures
    assert not kept & {request.key for request in server.asked[number:]}, "what was kept is not asked for again"
    assert set(server.billed.values()) == {1} and len(server.billed) == 60
    states = Counter(call.state for call in rows(home))
    assert states["replied"] == 60 and states["open"] == 0
    assert len(asked_before) <= 60
    check_sums(home)
    spent, _ = job_spending(home, "job")
    assert spent.doubtful == sum(call.reserved_nano for call in rows(home) if call.state == "lost")


def test_two_processes_upon_one_job_never_spend_more_than_its_budget(
    each_database: str, serve: Any, home: Home
) -> None:
    """Every answer costs $0.008 by the endpoint's own count, less than its worst case; a budget of $0.2 is never
    exceeded at the endpoint.
    """
    server = serve(lambda asked: chain(prompt_tokens=300, completion_tokens=100, delay=0.01))
    running = [job(home, server, 60, budget=0.2) for _ in range(2)]
    for process in running:
        go(process)
    ends = [process.communicate(timeout=60) for process in running]
    done = [out for (out, _), process in zip(ends, running, strict=True) if process.returncode == 0]
    refused = [err for (_, err), process in zip(ends, running, strict=True) if process.returncode != 0]
    assert done and all("is running in another process" in err for err in refused)
    assert sum(server.answered.values()) * 0.008 <= 0.2
    assert all(out.split()[1] == "True" for out in done), "it stopped for the budget"
    again = job(home, server, 60, budget=0.2)
    out, _ = again.communicate("go\n", timeout=60)
    assert out.split()[1] == "True" and sum(server.answered.values()) * 0.008 <= 0.2
    check_sums(home)


def test_a_job_whose_process_died_goes_on_at_once(each_database: str, serve: Any, home: Home) -> None:
    """Nobody waits for a lease to end: a process of this machine is looked at."""

    def script(asked: Request) -> Answer:
        return chain(delay=30) if asked.times == 1 else chain()

    server = serve(script)
    process = job(home, server, 8)
    go(process)
    deadline = time.monotonic() + 60
    while len(server.asked) < 8:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert job_spending(home, "job")[0].in_flight == 8
    process.send_signal(signal.SIGKILL)
    process.communicate()
    result = run_job(
        home, "job", [teacher(server, max_retries=0)], JobPlan(chains_per_problem=1), problems(8), budget_usd=50
    )
    assert len(result.chains) == 8 and result.spending.in_flight == 0
    assert result.spending.doubtful > 0, "what was in flight at the kill counts in full, for good"


def test_a_key_is_in_no_file_of_the_home(serve: Any, home: Home) -> None:
    server = serve(lambda asked: chain(steps=[f"the key is {KEY}"]))
    result = run_job(home, "job", [teacher(server)], JobPlan(chains_per_problem=1), problems(2), budget_usd=5)
    assert result.chains[0].steps == ["the key is [key]"]
    assert all(KEY.encode() not in path.read_bytes() for path in home.root.rglob("*") if path.is_file())
