"""Runs that wait for another one's slot in a pool: they sleep, and say for whom they wait."""

import time

import dagster as dg
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from rjepa_assets.processes import PARTITION_TAG, PROCESS_TAG, Process


def waiting_runs_sleep() -> None:
    """Let Dagster's executors sleep until a waiting step may ask for its slot again, seconds later.

    As it is (1.13), the time to sleep comes out as 0 or less, and a run that waits takes a whole core from the run that
    it waits for (https://github.com/dagster-io/dagster/pull/20367, never merged).
    """
    InstanceConcurrencyContext.interval_to_next_pending_claim_check = _until_next_claim  # type: ignore[assignment, method-assign]


class Waiting:
    """Says on a terminal that a run of this process waits for another one, once for each of these."""

    def __init__(self, instance: dg.DagsterInstance, job: str, partition: str, stream: int) -> None:
        """`stream` is the terminal's file descriptor."""
        self._instance, self._stream = instance, stream
        self._job, self._partition = job, partition
        self._said: str | None = None

    def say(self) -> None:
        """Nothing where it does not wait, or has said so."""
        here = dg.RunsFilter(job_name=self._job, tags={PROCESS_TAG: Process.current().tag()})
        holder = next((held_by(self._instance, run.run_id) for run in self._instance.get_runs(here, limit=1)), None)
        if holder is None or holder == self._said:
            return
        self._said = holder
        run = self._instance.get_run_by_id(holder)
        other = "another command's" if run is None else f"{run.job_name} of {run.tags.get(PARTITION_TAG)}"
        with open(self._stream, "w", closefd=False, buffering=1) as stream:
            print(
                f"{self._job} of {self._partition} waits for run {holder} ({other}): one run at a time computes",
                file=stream,
            )


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
