"""Dagster, asked over GraphQL: this library does not know it, and its web server may be away.

The question and answer themselves, launching a run, and turning a sensor or schedule on and off belong here. Which runs
there were is `rjepa.monitoring.runs`.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import httpx2
from pydantic import Field

from rjepa.errors import RjepaError
from rjepa.values import FrozenValue

PARTITION_TAG: Final = "dagster/partition"

_TIMEOUT_SECONDS: Final = 5.0
"""Dagster answers a list of runs in tens of milliseconds; a page must not hang on one that does not."""
_LOCATION: Final = "rjepa"
"""Name of our code location in workspace.yaml."""
_REPOSITORY: Final = "__repository__"
"""Dagster's name for what a code location defines."""
_PLACE: Final = {"repositoryLocationName": _LOCATION, "repositoryName": _REPOSITORY}

_ADD_PARTITION: Final = """
mutation Add($selector: RepositorySelector!, $definition: String!, $key: String!) {
  addDynamicPartition(repositorySelector: $selector, partitionsDefName: $definition, partitionKey: $key) {
    __typename ... on UnauthorizedError { message } ... on PythonError { message }
  }
}
"""
_ADDED: Final = ("AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError")
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
_SENSOR: Final = """
query Sensor($selector: SensorSelector!) {
  found: sensorOrError(sensorSelector: $selector) {
    __typename
    ... on Sensor { name nextTick { timestamp } state: sensorState { id status } }
    ... on SensorNotFoundError { message }
    ... on PythonError { message }
  }
}
"""
_SCHEDULE: Final = """
query Schedule($selector: ScheduleSelector!) {
  found: scheduleOrError(scheduleSelector: $selector) {
    __typename
    ... on Schedule {
      name nextTick: futureTicks(limit: 1) { results { timestamp } } state: scheduleState { id status }
    }
    ... on ScheduleNotFoundError { message }
    ... on PythonError { message }
  }
}
"""
_START_SENSOR: Final = """
mutation Start($selector: SensorSelector!) {
  done: startSensor(sensorSelector: $selector) {
    __typename ... on Sensor { name } ... on SensorNotFoundError { message } ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}
"""
_STOP_SENSOR: Final = """
mutation Stop($id: String!) {
  done: stopSensor(id: $id) {
    __typename ... on StopSensorMutationResult { instigationState { status } }
    ... on UnauthorizedError { message } ... on PythonError { message }
  }
}
"""
_START_SCHEDULE: Final = """
mutation Start($selector: ScheduleSelector!) {
  done: startSchedule(scheduleSelector: $selector) {
    __typename ... on ScheduleStateResult { scheduleState { status } }
    ... on UnauthorizedError { message } ... on PythonError { message }
  }
}
"""
_STOP_SCHEDULE: Final = """
mutation Stop($id: String!) {
  done: stopRunningSchedule(id: $id) {
    __typename ... on ScheduleStateResult { scheduleState { status } }
    ... on UnauthorizedError { message } ... on PythonError { message }
  }
}
"""

Kind = Literal["sensor", "schedule"]


class DagsterAwayError(RjepaError):
    """Dagster's web server does not answer."""


class LaunchError(RjepaError):
    """Dagster refused what was asked of it."""


class SwitchState(FrozenValue):
    """A sensor or a schedule of Dagster's."""

    kind: Kind
    name: str
    running: bool
    next_at: float | None = Field(None, description="seconds since 1970 of its next tick; None where it does not run")


def ask(url: str, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The data of one GraphQL reply.

    Args:
        url: of Dagster's web server, such as http://127.0.0.1:3000.

    Raises:
        DagsterAwayError: it does not answer, or not as Dagster does.
    """
    try:
        # trust_env: a proxy of this machine's environment has no business with a server beside us.
        with httpx2.Client(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            reply = client.post(f"{url.rstrip('/')}/graphql", json={"query": query, "variables": dict(variables)})
            body = reply.json()
            data = body["data"]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        raise away(url, type(error).__name__) from error
    if not isinstance(data, dict):
        raise away(url, str(body.get("errors", "no data"))[:200])
    return data


def add_partition(url: str, definition: str, key: str) -> None:
    """Add a key to a dynamic partition, unless it has it.

    Raises:
        DagsterAwayError: Dagster does not answer.
        LaunchError: it refuses.
    """
    wanted = {"selector": _PLACE, "definition": definition, "key": key}
    added = ask(url, _ADD_PARTITION, wanted)["addDynamicPartition"]
    if added["__typename"] not in _ADDED:
        raise _refused(added, "add the partition")


def launch_job(url: str, job: str, *, partition: str | None = None, config: Mapping[str, Any] | None = None) -> str:
    """Launch a run of a job, which Dagster's daemon then starts. Returns the run's id.

    Args:
        config: the run's, as Dagster takes it: {"ops": {asset: {"config": {...}}}}.

    Raises:
        DagsterAwayError: Dagster does not answer.
        LaunchError: it does not launch the run.
    """
    tags = [] if partition is None else [{"key": PARTITION_TAG, "value": partition}]
    params = {
        "selector": {**_PLACE, "jobName": job},
        "runConfigData": dict(config or {}),
        "executionMetadata": {"tags": tags},
    }
    launched = ask(url, _LAUNCH, {"params": params})["launchRun"]
    if launched["__typename"] != "LaunchRunSuccess":
        raise _refused(launched, "launch the run")
    return str(launched["run"]["runId"])


def read_switch(url: str, kind: Kind, name: str) -> SwitchState:
    """Whether a sensor or schedule runs, and when next.

    Raises:
        DagsterAwayError: Dagster does not answer.
        LaunchError: there is no such sensor or schedule.
    """
    return _state(kind, _look(url, kind, name))


def turn(url: str, kind: Kind, name: str, *, on: bool) -> SwitchState:
    """Start or stop a sensor or schedule; nothing happens where it is so already.

    Raises:
        DagsterAwayError: Dagster does not answer.
        LaunchError: there is none of that name, or Dagster refuses.
    """
    found = _look(url, kind, name)
    if (found["state"]["status"] == "RUNNING") == on:
        return _state(kind, found)
    if on:
        mutation = _START_SENSOR if kind == "sensor" else _START_SCHEDULE
        done = ask(url, mutation, {"selector": _selector(kind, name)})["done"]
    else:
        mutation = _STOP_SENSOR if kind == "sensor" else _STOP_SCHEDULE
        done = ask(url, mutation, {"id": found["state"]["id"]})["done"]
    if done["__typename"] not in ("Sensor", "StopSensorMutationResult", "ScheduleStateResult"):
        raise _refused(done, f"{'start' if on else 'stop'} the {kind} {name}")
    return read_switch(url, kind, name)


def away(url: str, why: str) -> DagsterAwayError:
    """The error for a web server that does not answer as Dagster does."""
    return DagsterAwayError(f"Dagster does not answer at {url} ({why})", cure="start it: rjepa up")


def _look(url: str, kind: Kind, name: str) -> dict[str, Any]:
    query = _SENSOR if kind == "sensor" else _SCHEDULE
    found: dict[str, Any] = ask(url, query, {"selector": _selector(kind, name)})["found"]
    if found["__typename"] not in ("Sensor", "Schedule"):
        raise _refused(found, f"find the {kind} {name}")
    return found


def _selector(kind: Kind, name: str) -> dict[str, str]:
    return {**_PLACE, f"{kind}Name": name}


def _state(kind: Kind, found: dict[str, Any]) -> SwitchState:
    running = found["state"]["status"] == "RUNNING"
    tick = found["nextTick"] or {}
    moments = [one["timestamp"] for one in tick.get("results", [tick]) if one.get("timestamp") is not None]
    return SwitchState(
        kind=kind, name=found["name"], running=running, next_at=moments[0] if running and moments else None
    )


def _refused(reply: dict[str, Any], what: str) -> LaunchError:
    texts = [reply.get("message"), *(error.get("message") for error in reply.get("errors", []))]
    words = "; ".join(" ".join(text.split())[:300] for text in texts if text) or reply["__typename"]
    return LaunchError(f"Dagster did not {what}: {words}", cure="see the code location's page in Dagster's UI")
