"""What teachers cost: each job's budget and pace, and where the month is heading. Works beside a running job."""

import calendar
import time
from datetime import UTC, datetime
from typing import Final

from pydantic import Field
from sqlalchemy import func, select

from rjepa.database import Database, open_database
from rjepa.home import Home
from rjepa.moments import HOUR_MS
from rjepa.teacher.pricing import NANO
from rjepa.teacher.runners import is_alive
from rjepa.teacher.spending import job_budget, job_names, job_spending
from rjepa.teacher.tables import CALLS, JOBS
from rjepa.values import FrozenValue

_PACE_MS: Final = HOUR_MS
"""A job's pace is that of its last hour: what it did last week says nothing of when its budget ends."""


class TeacherJob(FrozenValue):
    """One job. Money is in US dollars; `doubtful_usd` is the part of `spent_usd` that may never be billed."""

    name: str
    running: bool
    budget_usd: float | None
    spent_usd: float
    doubtful_usd: float
    replies: int
    failed: int
    by_teacher_usd: dict[str, float]
    usd_per_hour: float | None = Field(None, description="over the last hour; None where nothing was spent in it")
    hours_left: float | None = Field(None, description="until the budget is spent at that pace")


class TeacherBudgets(FrozenValue):
    """Every job that was ever started, and the calendar month in UTC."""

    jobs: tuple[TeacherJob, ...]
    month_usd: float
    month_projected_usd: float = Field(description="at the month's end, if it goes on as it did")


def read_budgets(home: Home) -> TeacherBudgets | None:
    """What teachers have cost; None where no job was ever started.

    Raises:
        StorageError: the database cannot be reached.
    """
    with open_database(home) as database:
        names = job_names(database)
        if not names:
            return None
        now = datetime.now(UTC)
        start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        month = _spent_since(database, _ms(start))
        passed = (now - start).total_seconds() / 86_400
        # On the first day a few hours would be blown up thirtyfold: a day is the least that is projected from.
        projected = month * calendar.monthrange(now.year, now.month)[1] / max(passed, 1.0)
        return TeacherBudgets(
            jobs=tuple(_job(database, name) for name in names), month_usd=month, month_projected_usd=projected
        )


def _job(database: Database, name: str) -> TeacherJob:
    spending, budget = job_spending(database, name), job_budget(database, name)
    spent = spending.spent / NANO
    now = time.time_ns() // 1_000_000
    first, in_hour = _last_hour(database, name, now)
    pace = left = None
    if first is not None and in_hour > 0:
        pace = in_hour / max((now - first) / _PACE_MS, 1 / 60)
        left = None if budget is None else max(0.0, budget - spent) / pace
    return TeacherJob(
        name=name,
        running=_is_running(database, name, now),
        budget_usd=budget,
        spent_usd=spent,
        doubtful_usd=spending.doubtful / NANO,
        replies=spending.replies,
        failed=spending.failed,
        by_teacher_usd={teacher: nano / NANO for teacher, nano in sorted(spending.by_teacher.items())},
        usd_per_hour=pace,
        hours_left=left,
    )


def _is_running(database: Database, name: str, now: int) -> bool:
    wanted = select(JOBS.c.runner, JOBS.c.runner_until_ms).where(JOBS.c.name == name)
    with database.reading() as connection:
        row = connection.execute(wanted).one()
    return row.runner is not None and is_alive(row.runner, row.runner_until_ms or 0, now)


def _last_hour(database: Database, name: str, now: int) -> tuple[int | None, float]:
    """When the first call of the last hour was made, and what that hour's calls have cost in dollars."""
    wanted = select(func.min(CALLS.c.reserved_at_ms), func.sum(CALLS.c.cost_nano)).where(
        CALLS.c.job == name, CALLS.c.settled_at_ms >= now - _PACE_MS
    )
    with database.reading() as connection:
        first, cost = connection.execute(wanted).one()
    return None if first is None else max(int(first), now - _PACE_MS), int(cost or 0) / NANO


def _spent_since(database: Database, since_ms: int) -> float:
    wanted = select(func.sum(CALLS.c.cost_nano)).where(CALLS.c.settled_at_ms >= since_ms)
    with database.reading() as connection:
        return int(connection.execute(wanted).scalar() or 0) / NANO


def _ms(moment: datetime) -> int:
    return int(1000 * moment.timestamp())
