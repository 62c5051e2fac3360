"""Everything that the monitor shows at one moment, as one value."""

from datetime import UTC, datetime

from pydantic import Field

from rjepa.home import Home
from rjepa.monitoring.alerts import Alert, LoadFailure, find_alerts
from rjepa.monitoring.dagster import DagsterAwayError
from rjepa.monitoring.releases import ReleaseHistory, read_releases
from rjepa.monitoring.runs import RunState, read_runs
from rjepa.monitoring.storage import DatasetState, Storage, read_datasets, read_storage
from rjepa.monitoring.teachers import TeacherBudgets, read_budgets
from rjepa.values import FrozenValue


class Snapshot(FrozenValue):
    """What there is, and what is amiss. A part that does not exist yet is None or empty, and is not drawn."""

    taken_at: datetime
    llm_tag: str
    dagster_url: str
    runs: tuple[RunState, ...] | None = Field(description="None where Dagster is away")
    releases: ReleaseHistory
    datasets: tuple[DatasetState, ...]
    storage: Storage
    teachers: TeacherBudgets | None
    alerts: tuple[Alert, ...]


def take_snapshot(home: Home, llm_tag: str, dagster_url: str, failure: LoadFailure | None = None) -> Snapshot:
    """Look at everything once.

    Args:
        failure: of the service's last try to load a release.

    Raises:
        StorageError: the database cannot be reached.
        CorruptError: it was changed by another program.
    """
    try:
        runs = read_runs(dagster_url)
    except DagsterAwayError:
        runs = None
    releases, storage, teachers = read_releases(home, llm_tag), read_storage(home), read_budgets(home)
    return Snapshot(
        taken_at=datetime.now(UTC),
        llm_tag=llm_tag,
        dagster_url=dagster_url,
        runs=runs,
        releases=releases,
        datasets=read_datasets(home),
        storage=storage,
        teachers=teachers,
        alerts=find_alerts(releases, storage, teachers, runs or (), failure),
    )
