"""Dagster's runs, as the monitor shows them. How its web server is asked: `rjepa.monitoring.dagster`."""

from typing import Any, Final

from pydantic import Field

from rjepa.home import check_tag
from rjepa.monitoring.dagster import PARTITION_TAG, add_partition, ask, away, launch_job
from rjepa.values import FrozenValue

_SHOWN_RUNS: Final = 12
_DATASET_JOB: Final = "dataset_version"
_DATASET_PARTITIONS: Final = "dataset_version"

_RUNS: Final = """
query Runs($limit: Int!) {
  runsOrError(limit: $limit) {
    __typename
    ... on Runs {
      results {
        runId status jobName startTime endTime tags { key value }
        stepStats { stepKey status } stepKeysToExecute executionPlan { steps { key } }
      }
    }
    ... on PythonError { message }
  }
}
"""


class RunState(FrozenValue):
    """One run. `status` is Dagster's own word in small letters; moments are seconds since 1970."""

    run_id: str
    job: str
    partition: str | None
    status: str
    started_at: float | None
    ended_at: float | None
    steps_done: int
    steps_total: int | None = Field(description="None where Dagster does not know them yet")
    failed_steps: tuple[str, ...]
    current_steps: tuple[str, ...]


def read_runs(url: str, limit: int = _SHOWN_RUNS) -> tuple[RunState, ...]:
    """The newest runs, newest first.

    Args:
        url: of Dagster's web server, such as http://127.0.0.1:3000.

    Raises:
        DagsterAwayError: it does not answer, or not as Dagster does.
    """
    found = ask(url, _RUNS, {"limit": limit})["runsOrError"]
    if found["__typename"] != "Runs":
        raise away(url, str(found.get("message", found["__typename"])))
    return tuple(_run(row) for row in found["results"])


def launch_dataset(url: str, dataset: str) -> str:
    """Launch the run that makes a dataset which has a recipe; returns the run's id. The partition is made if need be.

    Raises:
        DagsterAwayError: Dagster does not answer.
        LaunchError: it does not launch the run.
    """
    check_tag(dataset, "dataset version")
    add_partition(url, _DATASET_PARTITIONS, dataset)
    return launch_job(url, _DATASET_JOB, partition=dataset)


def _run(row: dict[str, Any]) -> RunState:
    steps = {step["stepKey"]: step["status"] for step in row["stepStats"]}
    plan = row["stepKeysToExecute"] or [step["key"] for step in (row["executionPlan"] or {}).get("steps", [])]
    over = ("SUCCESS", "SKIPPED", "FAILURE")
    return RunState(
        run_id=row["runId"],
        job=row["jobName"],
        partition=next((tag["value"] for tag in row["tags"] if tag["key"] == PARTITION_TAG), None),
        status=row["status"].lower(),
        started_at=row["startTime"],
        ended_at=row["endTime"],
        steps_done=sum(status in over for status in steps.values()),
        steps_total=len(plan) or None,
        failed_steps=tuple(key for key, status in steps.items() if status == "FAILURE"),
        current_steps=tuple(key for key, status in steps.items() if status == "IN_PROGRESS"),
    )
