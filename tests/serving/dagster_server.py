"""Dagster's web server as far as the monitor asks it, with replies as dagster 1.13.27 gave them."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Dagster:
    """What it was asked to launch, and what it answers."""

    def __init__(self) -> None:
        self.url = ""
        self.partitions: list[str] = []
        self.launched: list[dict[str, Any]] = []
        self.refuses = False
        self.switches = {"new_feedback": "STOPPED", "nightly": "STOPPED"}
        self.runs = [
            _run(
                "8b612851",
                "dataset_and_llm",
                "v1.0.0|tiny-a",
                "STARTED",
                {"rollouts": "SUCCESS", "latents": "IN_PROGRESS"},
            ),
            _run("abfdcd41", "llm", "tiny-a", "SUCCESS", {"student": "SUCCESS"}),
            _run(
                "d3ef27b4", "dataset_version", "v1.0.0", "FAILURE", {"problems": "SUCCESS", "teacher_chains": "FAILURE"}
            ),
        ]

    def reply(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "addDynamicPartition" in query:
            known = variables["key"] in self.partitions
            self.partitions.append(variables["key"])
            kind = "DuplicateDynamicPartitionError" if known else "AddDynamicPartitionSuccess"
            return {"addDynamicPartition": {"__typename": kind}}
        if "found:" in query:
            return {"found": self._switch(variables["selector"])}
        if "done:" in query:
            return {"done": self._turn(query, variables)}
        if "launchRun" in query:
            if self.refuses:
                return {"launchRun": {"__typename": "PythonError", "message": "no such job"}}
            self.launched.append(variables["params"])
            return {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": "eb47a618-398b"}}}
        return {"runsOrError": {"__typename": "Runs", "results": self.runs[: variables["limit"]]}}

    def _switch(self, selector: dict[str, str]) -> dict[str, Any]:
        kind = "Sensor" if "sensorName" in selector else "Schedule"
        name = selector.get("sensorName") or selector["scheduleName"]
        if name not in self.switches:
            return {"__typename": f"{kind}NotFoundError", "message": f"Could not find {kind} {name}"}
        tick = {"timestamp": 1795989600.0}
        return {
            "__typename": kind,
            "name": name,
            "nextTick": tick if kind == "Sensor" else {"results": [tick]},
            "state": {"id": name, "status": self.switches[name]},
        }

    def _turn(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        selector = variables.get("selector", {})
        name = variables.get("id") or selector.get("sensorName") or selector["scheduleName"]
        self.switches[name] = "RUNNING" if selector else "STOPPED"
        if "startSensor" in query:
            return {"__typename": "Sensor", "name": name}
        return {"__typename": "StopSensorMutationResult" if "stopSensor" in query else "ScheduleStateResult"}


def _run(run_id: str, job: str, partition: str, status: str, steps: dict[str, str]) -> dict[str, Any]:
    over, began = status in ("SUCCESS", "FAILURE"), time.time() - 200.0  # runs of the last day raise alerts
    return {
        "runId": f"{run_id}-e28c-44ec-957e-21bcba4339a2",
        "status": status,
        "jobName": job,
        "startTime": began,
        "endTime": began + 100.0 if over else None,
        "tags": [{"key": "dagster/partition", "value": partition}],
        "stepStats": [{"stepKey": key, "status": state} for key, state in steps.items()],
        "stepKeysToExecute": None,
        "executionPlan": {"steps": [{"key": key} for key in (*steps, *(() if over else ("report",)))]},
    }


@contextlib.contextmanager
def serve_dagster() -> Iterator[Dagster]:
    """Answer on a free port of this machine."""
    dagster = Dagster()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - the library's name
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            reply = json.dumps({"data": dagster.reply(body["query"], body["variables"])}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    dagster.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield dagster
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
