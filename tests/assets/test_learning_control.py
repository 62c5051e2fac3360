"""Learning control against Dagster's own web server with this project's definitions: no stand-in has a say here.

No daemon runs: a launched night stays queued, and nothing is trained.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from fastapi.testclient import TestClient

from rjepa.control.acting import begin_night
from rjepa.control.place import Place
from rjepa.control.state import read_status
from rjepa.home import Home
from rjepa.living.names import NIGHT_JOB, NIGHT_SCHEDULE, NIGHT_SENSOR
from rjepa.monitoring.dagster import LaunchError, launch_job, read_switch
from rjepa_assets.instance import REPOSITORY, open_instance
from serving.app import create_app
from serving.settings import ServiceSettings
from tests.patience import PATIENCE
from tests.serving.fakes import fake_loader, publish

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A home with a release, and Dagster's web server over it."""
    home = Home(tmp_path_factory.mktemp("control"))
    publish(home, 1)
    with pytest.MonkeyPatch.context() as environment:
        for name in ("DAGSTER_HOME", "RJEPA_HOME"):  # opening an instance sets them
            environment.setenv(name, "")
        with open_instance(home), socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port)]
        command += ["-w", str(REPOSITORY / "workspace.yaml"), "--log-level", "warning"]
        given = {**os.environ, "RJEPA_HOME": str(home.root), "DAGSTER_HOME": str(home.dagster)}
        log = home.root / "webserver.log"
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=given, cwd=home.dagster)
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_for(f"{url}/server_info", process, log)
            yield Place(home, "tiny-a", url)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE):
                return
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


def test_the_services_switch_turns_the_sensor_and_the_schedule(place: Place) -> None:
    settings = ServiceSettings(home=place.home.root, dagster_url=place.dagster_url, _env_file=None)
    with TestClient(create_app(settings, fake_loader(place.home)), base_url="http://localhost") as client:
        before = client.get("/v1/learning/status").json()["dagster"]
        assert before["note"] is None and [one["running"] for one in before["switches"]] == [False, False]
        for action, running in (("enable", True), ("enable", True), ("disable", False), ("enable", True)):
            changed = client.post("/v1/learning/control", json={"action": action}).json()
            assert changed["note"] is None
            assert {one["name"]: one["running"] for one in changed["switches"]} == {
                NIGHT_SENSOR: running,
                NIGHT_SCHEDULE: running,
            }
        after = client.get("/v1/learning/status").json()["dagster"]
        assert after["next_at"].endswith("02:00:00Z")
    with open_instance(place.home) as instance:
        states = {state.name: state.status for state in instance.all_instigator_state()}
    assert {states[NIGHT_SENSOR].value, states[NIGHT_SCHEDULE].value} == {"RUNNING"}


def test_a_night_that_is_begun_waits_in_dagster_for_its_daemon(place: Place) -> None:
    begun = begin_night(place)
    with open_instance(place.home) as instance:
        run = instance.get_run_by_id(begun.run_id)
    assert run is not None and run.job_name == NIGHT_JOB and run.status == dg.DagsterRunStatus.QUEUED
    assert run.tags["dagster/partition"] == "tiny-a"
    assert [night.run_id for night in read_status(place).dagster.running] == [begun.run_id]


def test_what_dagster_does_not_know_is_refused_in_words(place: Place) -> None:
    with pytest.raises(LaunchError, match="no_such_job"):
        launch_job(place.dagster_url, "no_such_job")
    with pytest.raises(LaunchError, match="no_such_sensor"):
        read_switch(place.dagster_url, "sensor", "no_such_sensor")
    with pytest.raises(LaunchError, match="no_such_schedule"):
        read_switch(place.dagster_url, "schedule", "no_such_schedule")
