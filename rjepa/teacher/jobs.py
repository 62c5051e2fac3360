"""A job: problems, chains, labels and opinions from several teachers at once, inside one budget.

Its calls are in the database, what it makes is in a folder. That is worked out from the answers in the database, so
running a job again after a kill asks only for what is missing and ends with the same records.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rjepa.database import open_database
from rjepa.files import write_json
from rjepa.home import Home, check_tag
from rjepa.progress import Progress, silent
from rjepa.schemas import ChainOfThought, Problem
from rjepa.tables import write_records
from rjepa.teacher import spending
from rjepa.teacher.calls import open_caller
from rjepa.teacher.plans import JobPlan, JobResult
from rjepa.teacher.running import Run
from rjepa.teacher.settings import Teacher
from rjepa.teacher.spending import Spending

PROBLEMS: Final = "problems.parquet"
CHAINS: Final = "chains.parquet"
REPORT: Final = "report.json"


def job_folder(home: Home, job: str) -> Path:
    """Where a job's results are."""
    return home.root / "teacher" / check_tag(job, "a job's name")


def run_job(
    home: Home,
    job: str,
    teachers: list[Teacher],
    plan: JobPlan,
    problems: Iterable[Problem] = (),
    *,
    budget_usd: float,
    progress: Progress = silent,
) -> JobResult:
    """Do what is missing of a job, write its problems, chains and report, and return them.

    Running out of budget ends the job early (`stopped`); a teacher that refuses everything is left out (`refused`).
    What was given is kept, and the same call goes on from there.

    Raises:
        InvalidInputError: the job runs elsewhere, or a teacher has no prices.
        TeacherError: every teacher refuses.
        CorruptError, StorageError: the database cannot be read or written.
    """
    folder = job_folder(home, job)
    result = asyncio.run(_run(home, job, teachers, plan, list(problems), budget_usd, progress))
    write_records(folder / PROBLEMS, Problem, result.problems)
    write_records(folder / CHAINS, ChainOfThought, result.chains)
    names = [teacher.name for teacher in teachers]
    report = {"teachers": names, "budget_usd": budget_usd, "plan": plan.model_dump(mode="json")}
    report |= {"stopped": "budget" if result.stopped else None, "figures": result.figures()}
    write_json(folder / REPORT, report)
    if len(result.refused) == len(teachers):
        raise next(iter(result.refused.values()))
    return result


def job_spending(home: Home, job: str) -> tuple[Spending, float | None]:
    """What a job spent, and the budget in USD of its latest run. Works beside a running job."""
    with open_database(home) as database:
        return spending.job_spending(database, job), spending.job_budget(database, job)


def job_names(home: Home) -> list[str]:
    """Every job that was ever started, in alphabetical order."""
    with open_database(home) as database:
        return spending.job_names(database)


async def _run(
    home: Home,
    job: str,
    teachers: list[Teacher],
    plan: JobPlan,
    problems: list[Problem],
    budget_usd: float,
    progress: Progress,
) -> JobResult:
    async with open_caller(home, job, teachers, budget_usd) as caller:
        run = Run(caller, teachers, plan, progress)
        try:
            await run.all(problems)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None  # one cause, and workers that were cancelled for it
    with open_database(home) as database:
        run.result.spending = spending.job_spending(database, job)
    return run.result


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
