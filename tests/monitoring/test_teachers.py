import time
from pathlib import Path

import pytest
from sqlalchemy import insert

from rjepa.database import open_database
from rjepa.home import Home
from rjepa.monitoring.teachers import read_budgets
from rjepa.teacher.pricing import NANO
from rjepa.teacher.runners import this_process
from rjepa.teacher.tables import CALLS, JOBS

HOUR_MS = 3_600_000


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def add_job(home: Home, calls: list[tuple[float, float]], runner: str | None) -> None:
    """A job with a budget of 10 dollars, its runner, and calls of (hours ago, dollars)."""
    now = time.time_ns() // 1_000_000
    rows = [
        {
            "job": "first",
            "key": f"{number:064d}",
            "teacher": "self",
            "state": "replied",
            "reserved_nano": 0,
            "cost_nano": int(dollars * NANO),
            "reserved_at_ms": int(now - hours * HOUR_MS),
            "settled_at_ms": int(now - hours * HOUR_MS),
        }
        for number, (hours, dollars) in enumerate(calls)
    ]
    job = {
        "name": "first",
        "budget_usd": 10.0,
        "spent_nano": 0,
        "reserved_nano": 0,
        "runner": runner,
        "runner_until_ms": now + HOUR_MS,
    }
    with open_database(home) as database:
        database.transact(lambda connection: connection.execute(insert(JOBS).values(**job)))
        database.transact(lambda connection: connection.execute(insert(CALLS), rows))


def test_a_budget_ends_when_the_pace_of_the_last_hour_has_spent_it(home: Home) -> None:
    add_job(home, [(0.5, 1.0), (0.25, 1.0), (3.0, 2.0)], this_process())
    budgets = read_budgets(home)
    assert budgets is not None
    (job,) = budgets.jobs
    assert job.running and job.spent_usd == 4.0 and job.by_teacher_usd == {"self": 4.0}
    assert job.usd_per_hour == pytest.approx(4.0, rel=0.02)  # two dollars in half an hour
    assert job.hours_left == pytest.approx(1.5, rel=0.02)  # of six that are left


def killed() -> str:
    """A runner of this machine that is gone, and whose lease has not ended."""
    machine, number, started = this_process().split("|")
    return f"{machine}|{number}|{float(started) - 60}"


@pytest.mark.parametrize("runner", [None, killed()], ids=["ended", "killed"])
def test_a_job_that_rests_has_no_pace_and_the_month_is_projected(home: Home, runner: str | None) -> None:
    add_job(home, [(2.0, 3.0)], runner)
    budgets = read_budgets(home)
    assert budgets is not None
    assert not budgets.jobs[0].running and budgets.jobs[0].usd_per_hour is None and budgets.jobs[0].hours_left is None
    assert budgets.month_projected_usd >= budgets.month_usd


def test_without_any_job_there_are_no_budgets(home: Home) -> None:
    assert read_budgets(home) is None
