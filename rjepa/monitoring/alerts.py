"""What is amiss, by rules with their figures. In no language: the page puts a kind and its figures into words."""

import time
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from rjepa.evaluation.targets import ECE
from rjepa.monitoring.releases import ReleaseHistory
from rjepa.monitoring.runs import RunState
from rjepa.monitoring.storage import Storage
from rjepa.monitoring.teachers import TeacherBudgets
from rjepa.values import FrozenValue

Level = Literal["bad", "warning"]

_DISK_SHARE: Final = 0.1
"""Of the disk, below which a person should look: a training run's checkpoints and shards take gigabytes at once."""
_DISK_BYTES_BAD: Final = 2 * 1024**3
"""A demo writes about this much: below it the next run is likely to fail."""
_BUDGET_SHARE: Final = 0.9
_RUN_RECENT_SECONDS: Final = 24 * 3600.0


Figures = dict[str, str | float | int]


class Alert(FrozenValue):
    """One thing that is amiss. `figures` are numbers and names; shares are between 0 and 1, sizes in bytes."""

    kind: str
    level: Level
    figures: Figures


class LoadFailure(FrozenValue):
    """A release that the service could not load; it goes on with the one before, if there was one."""

    problem: str
    cure: str


def find_alerts(
    releases: ReleaseHistory,
    storage: Storage,
    teachers: TeacherBudgets | None,
    runs: Sequence[RunState],
    failure: LoadFailure | None,
) -> tuple[Alert, ...]:
    """Everything amiss, the worst first."""
    found = [
        *_of_loading(failure),
        *_of_disk(storage),
        *_of_runs(runs),
        *_of_gate(releases),
        *_of_calibration(releases),
        *_of_budgets(teachers),
    ]
    return tuple(sorted(found, key=lambda alert: alert.level != "bad"))


def _of_loading(failure: LoadFailure | None) -> Iterator[Alert]:
    if failure is not None:
        yield Alert(kind="release_not_loaded", level="bad", figures={"problem": failure.problem, "cure": failure.cure})


def _of_disk(storage: Storage) -> Iterator[Alert]:
    share = storage.disk_free / storage.disk_total if storage.disk_total else 1.0
    if share < _DISK_SHARE or storage.disk_free < _DISK_BYTES_BAD:
        level: Level = "bad" if storage.disk_free < _DISK_BYTES_BAD else "warning"
        yield Alert(kind="disk_nearly_full", level=level, figures={"free": storage.disk_free, "share": share})


def _of_runs(runs: Sequence[RunState]) -> Iterator[Alert]:
    since = time.time() - _RUN_RECENT_SECONDS
    for run in runs:
        if run.status == "failure" and (run.ended_at or 0.0) >= since:
            figures: Figures = {"job": run.job, "partition": run.partition or "", "run": run.run_id}
            yield Alert(kind="run_failed", level="warning", figures=figures)


def _of_gate(releases: ReleaseHistory) -> Iterator[Alert]:
    for move in releases.moves_of_the_week():
        if move.action == "refuse":
            figures: Figures = {"release": move.target, "reason": move.reason, "at": move.at}
            yield Alert(kind="gate_refused", level="warning", figures=figures)
        elif move.is_automatic:
            figures = {"release": move.source or "", "reason": move.reason, "at": move.at}
            yield Alert(kind="taken_back", level="bad", figures=figures)


def _of_calibration(releases: ReleaseHistory) -> Iterator[Alert]:
    served = releases.served
    if served is not None and served.ece is not None and served.ece > ECE:
        figures: Figures = {"ece": served.ece, "target": ECE}
        yield Alert(kind="ece_above_target", level="warning", figures=figures)


def _of_budgets(teachers: TeacherBudgets | None) -> Iterator[Alert]:
    for job in teachers.jobs if teachers is not None else ():
        if job.running and job.budget_usd and job.spent_usd >= _BUDGET_SHARE * job.budget_usd:
            figures: Figures = {"job": job.name, "spent": job.spent_usd, "budget": job.budget_usd}
            yield Alert(kind="budget_nearly_spent", level="warning", figures=figures)
