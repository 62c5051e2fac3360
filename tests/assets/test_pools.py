"""A run that waits for another one's slot says so, sleeps meanwhile, and goes on."""

import subprocess
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.utils import make_new_run_id

from rjepa.home import Home
from rjepa_assets.definitions import build_defs
from rjepa_assets.defs.stage import GPU_POOL
from rjepa_assets.instance import open_instance
from rjepa_assets.pools import held_by

from .running import SMOKE, command, environment

pytestmark = pytest.mark.slow


def hold(instance: dg.DagsterInstance) -> str:
    """Take the pool's one slot for a run that nobody knows."""
    run_id = make_new_run_id()
    instance.event_log_storage.initialize_concurrency_limit_to_default(GPU_POOL)
    assert instance.event_log_storage.claim_concurrency_slot(GPU_POOL, run_id, "training").is_claimed
    return run_id


def test_what_waits_for_a_slot_sleeps_until_it_may_ask_again(demo_copy: Home) -> None:
    job = build_defs().resolve_job_def("llm")
    with open_instance(demo_copy) as instance:
        holder = hold(instance)
        run = instance.create_run_for_job(job)
        with InstanceConcurrencyContext(instance, run) as context:
            assert not context.claim(GPU_POOL, "student")
            assert 0.0 < context.interval_to_next_pending_claim_check() <= 15.0
            assert held_by(instance, run.run_id) == holder
        assert held_by(instance, run.run_id) is None


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
