"""Runs whose process died are failed and give their slot back; runs of a living process are left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import psutil
import pytest

from rjepa.home import Home
from rjepa_assets.instance import open_instance
from rjepa_assets.own_process import _Reader
from rjepa_assets.processes import PROCESS_TAG, Process, cancel_runs_of, fail_abandoned_runs

STARTED, FAILED = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    for name in ("DAGSTER_HOME", "RJEPA_HOME"):
        monkeypatch.setenv(name, "")
    with open_instance(Home(tmp_path)) as opened:
        yield opened


def started_run(instance: dg.DagsterInstance, process: Process | None, status: dg.DagsterRunStatus = STARTED) -> str:
    tags = {} if process is None else {PROCESS_TAG: process.tag()}
    return instance.create_run_for_job(job, status=status, tags=tags).run_id


@dg.op
def nothing() -> None: ...


@dg.job
def job() -> None:
    nothing()


def dead_process() -> Process:
    """A process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = psutil.Process(child.pid).create_time()
        assert child.stdin is not None
        child.stdin.close()
    return Process(Process.current().host, child.pid, started)


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


@pytest.mark.parametrize("before", [STARTED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING])
def test_a_run_whose_process_is_gone_is_failed(instance: dg.DagsterInstance, before: dg.DagsterRunStatus) -> None:
    run_id = started_run(instance, dead_process(), before)
    assert fail_abandoned_runs(instance) == [run_id]
    assert status(instance, run_id) == FAILED


def test_a_run_of_a_living_process_is_left_alone(instance: dg.DagsterInstance) -> None:
    run_id = started_run(instance, Process.current())
    assert fail_abandoned_runs(instance, unclaimed=True) == []
    assert status(instance, run_id) == STARTED


def test_a_pid_that_was_given_to_another_process_does_not_count_as_alive(instance: dg.DagsterInstance) -> None:
    mine = Process.current()
    run_id = started_run(instance, Process(mine.host, os.getpid(), mine.started - 3600))
    assert fail_abandoned_runs(instance) == [run_id]


def test_a_run_of_another_machine_is_not_judged(instance: dg.DagsterInstance) -> None:
    started_run(instance, Process("some-other-host", 1, 0.0))
    assert fail_abandoned_runs(instance, unclaimed=True) == []


def test_a_run_that_no_one_claimed_is_failed_only_where_nothing_else_can_be_running(
    instance: dg.DagsterInstance,
) -> None:
    run_id = started_run(instance, None)
    assert fail_abandoned_runs(instance) == []
    assert fail_abandoned_runs(instance, unclaimed=True) == [run_id]


def test_the_slot_of_a_dead_run_can_be_taken_again(instance: dg.DagsterInstance) -> None:
    run_id = started_run(instance, dead_process())
    storage = instance.event_log_storage
    storage.initialize_concurrency_limit_to_default("gpu")
    assert storage.claim_concurrency_slot("gpu", run_id, "student").is_claimed
    assert not storage.claim_concurrency_slot("gpu", "another run", "latents").is_claimed
    fail_abandoned_runs(instance)
    assert storage.claim_concurrency_slot("gpu", "another run", "latents").is_claimed


def test_what_a_stopped_process_worked_on_is_cancelled_and_what_it_started_ends(instance: dg.DagsterInstance) -> None:
    # Not this process: what pytest has started for other tests (a Postgres) has to live on.
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "print('started', flush=True)\nprint(child.wait(), flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "started\n"
        stopped = Process(Process.current().host, owner.pid, psutil.Process(owner.pid).create_time())
        run_id = started_run(instance, stopped)
        others = started_run(instance, dead_process())
        cancel_runs_of(instance, stopped)
        assert int(owner.stdout.readline()) == -signal.SIGKILL
    assert status(instance, run_id) == dg.DagsterRunStatus.CANCELED
    assert status(instance, others) == STARTED


def test_where_interrupts_are_ignored_children_can_be_ended_all_the_same() -> None:
    program = (
        "import signal, subprocess\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Dagster does then\n"
        "from rjepa_assets.processes import children_can_be_ended\n"
        "with children_can_be_ended():\n"
        "    child = subprocess.Popen(['sleep', '60'])\n"
        "    child.terminate()\n"
        "    assert child.wait(10) == -signal.SIGTERM\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_message_that_is_just_being_written_is_waited_for(tmp_path: Path) -> None:
    reported, taken = list[tuple[int, int, str]](), list[object]()
    reader = _Reader(lambda done, total, note="": reported.append((done, total, note)))
    handler = SimpleNamespace(handle_message=taken.append)
    progress = {"method": "report_custom_message", "params": {"payload": {"done": 1, "total": 2, "note": "\u00e9"}}}
    failed = {"method": "report_custom_message", "params": {"payload": {"problem": "p", "cure": "c"}}}
    with reader.read_messages(handler) as params:
        with open(params["path"], "a", encoding="utf-8") as stream:
            for part in (json.dumps(progress)[:30], json.dumps(progress)[30:] + "\n", '{"method": "opened"'):
                stream.write(part)
                stream.flush()
                time.sleep(0.1)
            stream.write(', "params": {}}\n' + json.dumps(failed) + "\n")
    assert reported == [(1, 2, "\u00e9")] and taken == [{"method": "opened", "params": {}}]
    assert reader.failed == {"problem": "p", "cure": "c"}
