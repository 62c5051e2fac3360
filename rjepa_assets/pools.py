"""Runs that wait for another one's slot in a pool: they sleep, and say for whom they wait."""

import time

import dagster as dg
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext


def waiting_runs_sleep() -> None:
    """Let Dagster's executors sleep until a waiting step may ask for its slot again, seconds later.

    As it is (1.13), the time to sleep comes out as 0 or less, and a run that waits takes a whole core from the run that
    it waits for (https://github.com/dagster-io/dagster/pull/20367, never merged).
    """
    InstanceConcurrencyContext.interval_to_next_pending_claim_check = _until_next_claim  # type: ignore[assignment, method-assign]


def held_by(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """The run whose slot a run waits for; None where it waits for none."""
    storage = instance.event_log_storage
    for pool in storage.get_concurrency_keys():
        info = storage.get_concurrency_info(pool)
        waits = any(step.run_id == run_id and step.assigned_timestamp is None for step in info.pending_steps)
        holders = [slot.run_id for slot in info.claimed_slots if slot.run_id != run_id]
        if waits and holders:
            return holders[0]
    return None


def _until_next_claim(context: InstanceConcurrencyContext) -> float:
    """Seconds until the first of the pending claims may be tried again."""
    ready = context._pending_timeouts.values()
    return max(0.0, min(ready) - time.time()) if ready else 0.0
