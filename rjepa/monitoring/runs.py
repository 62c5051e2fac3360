"""Dagster's runs, asked of its web server over GraphQL: this library does not know Dagster, and it may be away."""

from typing import Any, Final

import httpx2
from pydantic import Field

from rjepa.errors import RjepaError
from rjepa.home import check_tag
from rjepa.values import FrozenValue

_TIMEOUT_SECONDS: Final = 5.0
"""Dagster answers a list of runs in tens of milliseconds; a page must not hang on one that does not."""

_SHOWN_RUNS: Final = 12
_LOCATION: Final = "rjepa"
"""Name of our code location in workspace.yaml."""
_REPOSITORY: Final = "__repository__"
"""Dagster's name for what a code location defines."""
_DATASET_JOB: Final = "dataset_version"
_DATASET_PARTITIONS: Final = "dataset_version"
_PARTITION_TAG: Final = "dagster/partition"

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
_ADD_PARTITION: Final = """
mutation Add($selector: RepositorySelector!, $definition: String!, $key: String!) {
  addDynamicPartition(repositorySelector: $selector, partitionsDefName: $definition, partitionKey: $key) {
    __typename ... on UnauthorizedError { message } ... on PythonError { message }
  }
}
"""
_LAUNCH: Final = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
    ... on Error { message }
  }
}
"""
_ADDED: Final = ("AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError")


class DagsterAwayError(RjepaError):
    """Dagster's web server does not answer."""


class LaunchError(RjepaError):
    """Dagster refused to launch a run."""


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
    found = _ask(url, _RUNS, {"limit": limit})["runsOrError"]
    if found["__typename"] != "Runs":
        raise _away(url, str(found.get("message", found["__typename"])))
    return tuple(_run(row) for row in found["results"])


def launch_dataset(url: str, dataset: str) -> str:
    """Launch the run that makes a dataset which has a recipe; returns the run's id. The partition is made if need be.

    Raises:
        DagsterAwayError: Dagster does not answer.
        LaunchError: it does not launch the run.
    """
    check_tag(dataset, "dataset version")
    place = {"repositoryLocationName": _LOCATION, "repositoryName": _REPOSITORY}
    wanted = {"selector": place, "definition": _DATASET_PARTITIONS, "key": dataset}
    added = _ask(url, _ADD_PARTITION, wanted)["addDynamicPartition"]
    if added["__typename"] not in _ADDED:
        raise _refused(added)
    params = {
        "selector": {**place, "jobName": _DATASET_JOB},
        "runConfigData": {},
        "executionMetadata": {"tags": [{"key": _PARTITION_TAG, "value": dataset}]},
    }
    launched = _ask(url, _LAUNCH, {"params": params})["launchRun"]
    if launched["__typename"] != "LaunchRunSuccess":
        raise _refused(launched)
    return str(launched["run"]["runId"])


def _ask(url: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    try:
        # trust_env: a proxy of this machine's environment has no business with a server beside us.
        with httpx2.Client(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            reply = client.post(f"{url.rstrip('/')}/graphql", json={"query": query, "variables": variables})
            body = reply.json()
            data = body["data"]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        raise _away(url, type(error).__name__) from error
    if not isinstance(data, dict):
        raise _away(url, str(body.get("errors", "no data"))[:200])
    return data


def _run(row: dict[str, Any]) -> RunState:
    steps = {step["stepKey"]: step["status"] for step in row["stepStats"]}
    plan = row["stepKeysToExecute"] or [step["key"] for step in (row["executionPlan"] or {}).get("steps", [])]
    over = ("SUCCESS", "SKIPPED", "FAILURE")
    return RunState(
        run_id=row["runId"],
        job=row["jobName"],
        partition=next((tag["value"] for tag in row["tags"] if tag["key"] == _PARTITION_TAG), None),
        status=row["status"].lower(),
        started_at=row["startTime"],
        ended_at=row["endTime"],
        steps_done=sum(status in over for status in steps.values()),
        steps_total=len(plan) or None,
        failed_steps=tuple(key for key, status in steps.items() if status == "FAILURE"),
        current_steps=tuple(key for key, status in steps.items() if status == "IN_PROGRESS"),
    )


def _away(url: str, why: str) -> DagsterAwayError:
    return DagsterAwayError(f"Dagster does not answer at {url} ({why})", cure="start it: rjepa up")


def _refused(reply: dict[str, Any]) -> LaunchError:
    texts = [reply.get("message"), *(error.get("message") for error in reply.get("errors", []))]
    said = "; ".join(" ".join(text.split())[:300] for text in texts if text) or reply["__typename"]
    return LaunchError(f"Dagster did not launch the run: {said}", cure="see the code location's page in Dagster's UI")
