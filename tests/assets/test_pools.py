"""A run that waits for another one's slot says so and goes on."""

import subprocess
import time
import uuid
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from rjepa.home import Home
from rjepa_assets.definitions import build_defs
from rjepa_assets.defs.stage import GPU_POOL
from rjepa_assets.instance import open_instance
from rjepa_assets.pools import holder_of, wait_for_pools
from rjepa_assets.processes import PROCESS_TAG, Process

from .running import SMOKE, command, environment

pytestmark = pytest.mark.slow


def hold(instance: dg.DagsterInstance, run_id: str | None = None) -> str:
    """Occupy the only slot of the pool `gpu` for a run, or under an id that no run has. Returns the id."""
    run_id = run_id or str(uuid.uuid4())
    instance.event_log_storage.initialize_concurrency_limit_to_default(GPU_POOL)
    assert instance.event_log_storage.claim_concurrency_slot(GPU_POOL, run_id, "training").is_claimed
    return run_id


def test_what_holds_a_slot_is_found_until_it_is_given_back(demo_copy: Home) -> None:
    with open_instance(demo_copy) as instance:
        assert holder_of(instance, {GPU_POOL}) is None
        holder = hold(instance)
        assert holder_of(instance, {GPU_POOL}) == holder
        assert holder_of(instance, {"another"}) is None
        instance.event_log_storage.free_concurrency_slots_for_run(holder)
        assert holder_of(instance, {GPU_POOL}) is None


def test_a_run_whose_process_was_killed_keeps_nobody_waiting(demo_copy: Home, tmp_path: Path) -> None:
    gone = replace(Process.current(), started=0.0)
    with open_instance(demo_copy) as instance, (tmp_path / "log").open("w") as terminal:
        run = instance.create_run_for_job(build_defs().resolve_job_def("llm"), tags={PROCESS_TAG: gone.tag()})
        hold(instance, run.run_id)
        wait_for_pools(instance, {GPU_POOL}, "the next one", terminal.fileno())
        assert holder_of(instance, {GPU_POOL}) is None
    assert f"the next one waits for run {run.run_id} (llm of " in (tmp_path / "log").read_text()


def test_a_backfill_says_for_whom_it_waits_and_goes_on(demo_copy: Home, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with open_instance(demo_copy) as instance, log.open("w") as stream:
        holder = hold(instance)
        arguments = command("backfill", "--llm", "tiny-a", *SMOKE, "--no-release")
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=stream, env=environment(demo_copy.root))
        try:
            patience = time.monotonic() + 300
            while "waits for" not in log.read_text():
                assert process.poll() is None and time.monotonic() < patience, log.read_text()
                time.sleep(0.1)
            assert holder in log.read_text()
            instance.event_log_storage.free_concurrency_slots_for_run(holder)
            assert process.wait(300) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
