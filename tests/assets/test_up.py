"""`rjepa up`, for real: both servers answer, and no process outlives it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from rjepa.datasets.reading import load_manifest
from rjepa.home import Home
from rjepa_assets.instance import open_instance
from rjepa_assets.processes import PROCESS_TAG
from rjepa_assets.requests import want_dataset, want_llm
from tests.patience import PATIENCE
from tests.ports import free_port

pytestmark = pytest.mark.slow


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.2)


class Up:
    """A running `rjepa up` with the addresses it was given."""

    def __init__(self, home: Path) -> None:
        self.ui, self.service = free_port(), free_port()
        self.home = Home(home)
        self.log = home / "up.log"
        environment = {"RJEPA_HOME": str(home), "RJEPA_PORT": str(self.service), "RJEPA_DAGSTER_PORT": str(self.ui)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rjepa.cli.main", "up"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )

    def family(self) -> list[psutil.Process]:
        me = psutil.Process(self.process.pid)
        return [me, *me.children(recursive=True)]

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """The answer of Dagster's GraphQL address, as the UI asks it."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ui}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)["data"]

    def tell(self, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        """What the service replies: to a body that is posted, or to a plain look."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.service}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.service}/v1/health", timeout=PATIENCE) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def printed(self, text: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return text in self.log.read_text()


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    for name in ("DAGSTER_HOME", "RJEPA_HOME"):  # opening an instance sets them
        monkeypatch.setenv(name, "")
    started = Up(tmp_path)
    yield started
    if started.process.poll() is None:
        started.process.send_signal(signal.SIGTERM)
        started.process.wait(60)


def left_of(family: list[psutil.Process]) -> list[str]:
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    return [f"{process.pid} {process.status()}" for process in alive if process.status() != psutil.STATUS_ZOMBIE]


LAUNCH = """mutation($assets: [AssetKeyInput!]!, $partitions: [String!]!) {
  launchPartitionBackfill(backfillParams: {assetSelection: $assets, partitionNames: $partitions}) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status } ... on PythonError { message } } }"""
RUNS = "{ runsOrError { ... on Runs { results { status tags { key value } } } } }"


def test_ui_and_service_answer_a_backfill_runs_and_ctrl_c_stops_all_of_it(up: Up) -> None:
    wait_for(lambda: up.printed("Ctrl-C stops both."), 180, "both addresses")
    with urllib.request.urlopen(f"http://127.0.0.1:{up.ui}/server_info", timeout=PATIENCE) as answer:
        assert b"dagster_version" in answer.read()
    with urllib.request.urlopen(f"http://127.0.0.1:{up.service}/v1/health", timeout=PATIENCE) as answer:
        assert answer.status == 200

    # The monitor's button: the service asks Dagster, whose daemon then makes the dataset.
    made = up.tell("/v1/monitor/datasets", {"name": "smoke"})

    def runs() -> dict[str, Any]:
        return {run["run_id"]: run for run in up.tell("/v1/monitor/state")["runs"]}

    wait_for(lambda: runs()[made["run"]]["status"] == "success", 240, "the run that the monitor launched")
    run = runs()[made["run"]]
    assert (run["job"], run["partition"], run["steps_done"]) == ("dataset_version", "smoke", run["steps_total"])

    with open_instance(up.home) as instance:
        want_dataset(instance, "smoke")
    stages = ["problems", "teacher_chains", "validated_chains", "dataset_release"]
    launched = up.ask(LAUNCH, assets=[{"path": [name]} for name in stages], partitions=["smoke"])
    backfill = launched["launchPartitionBackfill"]["backfillId"]
    wait_for(
        lambda: up.ask(STATUS, id=backfill)["partitionBackfillOrError"]["status"] == "COMPLETED_SUCCESS",
        180,
        "the backfill",
    )
    assert load_manifest(up.home, "smoke")["counts"]["problems"] > 0
    for run in up.ask(RUNS)["runsOrError"]["results"]:
        assert run["status"] == "SUCCESS"
        assert PROCESS_TAG in {tag["key"] for tag in run["tags"]}

    with open_instance(up.home) as instance:
        want_llm(instance, "tiny-a")
        student = dg.AssetKey("student")
        wait_for(lambda: instance.get_materialized_partitions(student) == {"tiny-a"}, 240, "automation's own run")
        assert instance.get_materialized_partitions(dg.AssetKey("latents")) == set()

    service = next(one for one in up.family() if "serve" in one.cmdline())
    service.kill()
    wait_for(lambda: up.printed("it is started again"), 30, "the restart")
    wait_for(lambda: up.healthy(), 180, "the service that was started again")
    assert up.ask(RUNS)["runsOrError"]["results"]

    family = up.family()
    assert len(family) >= 5
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 130
    assert left_of(family) == []
    assert "Traceback" not in up.log.read_text()


def test_a_stop_while_it_starts_leaves_nothing_behind(up: Up) -> None:
    wait_for(lambda: len(up.family()) >= 4, 60, "children")
    family = up.family()
    up.process.send_signal(signal.SIGTERM)
    up.process.wait(60)
    assert left_of(family) == []


def test_a_port_in_use_is_refused_with_a_cure(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "rjepa.cli.main", "up"],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "RJEPA_HOME": str(tmp_path), "RJEPA_DAGSTER_PORT": port},
        )
    assert done.returncode == 1
    assert "set RJEPA_DAGSTER_PORT" in done.stderr and "Traceback" not in done.stderr
