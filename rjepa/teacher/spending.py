"""What jobs have spent, added up by the database. May be asked beside a running job."""

from dataclasses import dataclass, field

from sqlalchemy import func, select

from rjepa.database import Database
from rjepa.teacher.tables import CALLS, JOBS


@dataclass(frozen=True)
class Spending:
    """What a job spent, in nano-dollars. `doubtful` is the part that may or may not be billed."""

    spent: int = 0
    doubtful: int = 0
    replies: int = 0
    failed: int = 0
    in_flight: int = 0
    """Calls that are open: of a run that goes on, or of one that was killed and not run again since."""
    above_reserve: int = 0
    """Calls that cost more than their worst case."""
    by_teacher: dict[str, int] = field(default_factory=dict)


def job_names(database: Database) -> list[str]:
    """Every job that was ever started, in alphabetical order."""
    with database.reading() as connection:
        return sorted(connection.execute(select(JOBS.c.name)).scalars())


def job_budget(database: Database, job: str) -> float | None:
    """The budget in USD of the job's latest run; None for a job that was never started."""
    with database.reading() as connection:
        return connection.execute(select(JOBS.c.budget_usd).where(JOBS.c.name == job)).scalar()


def job_spending(database: Database, job: str) -> Spending:
    """Add up a job's calls. One that is open counts at its worst case, in full: it may have been billed."""
    query = (
        select(
            CALLS.c.teacher,
            CALLS.c.state,
            func.count().label("calls"),
            func.sum(CALLS.c.cost_nano).label("cost"),
            func.sum(CALLS.c.doubtful_nano).label("doubtful"),
            func.sum(CALLS.c.reserved_nano).label("reserved"),
            func.count().filter(CALLS.c.above_reserve_nano > 0).label("above"),
        )
        .where(CALLS.c.job == job)
        .group_by(CALLS.c.teacher, CALLS.c.state)
        .order_by(CALLS.c.teacher)
    )
    with database.reading() as connection:
        rows = connection.execute(query).all()
    calls = {state: sum(row.calls for row in rows if row.state == state) for state in ("replied", "failed", "open")}
    by_teacher: dict[str, int] = {}
    doubtful = 0
    for row in rows:
        is_open = row.state == "open"
        # Postgres adds whole numbers up to its decimal type.
        by_teacher[row.teacher] = by_teacher.get(row.teacher, 0) + int(row.reserved if is_open else row.cost)
        doubtful += int(row.reserved if is_open else row.doubtful)
    return Spending(
        spent=sum(by_teacher.values()),
        doubtful=doubtful,
        replies=calls["replied"],
        failed=calls["failed"],
        in_flight=calls["open"],
        above_reserve=sum(row.above for row in rows),
        by_teacher=by_teacher,
    )
