"""A command whose run needs a pool that another run holds waits before it begins, and says for whom.

Dagster's in-process executor (1.13) asks for a slot over and over without a pause: a run that waits inside takes a core
from the run that it waits for (https://github.com/dagster-io/dagster/pull/20367, never merged).
"""

import time
from collections.abc import Set
from typing import Final

import dagster as dg

from rjepa_assets.processes import PARTITION_TAG, fail_abandoned_runs

_LOOK_SECONDS: Final = 1.0
"""Between two looks at a pool."""


def wait_for_pools(instance: dg.DagsterInstance, pools: Set[str], waiting: str, stream: int) -> None:
    """Return once no run holds a slot of these pools; a run whose process was killed meanwhile gives its slots back.

    Two commands that wait may begin at the same moment: then one of the two waits inside Dagster.

    Args:
        waiting: what the terminal's line calls the run that waits, such as `llm of tiny-a`.
        stream: the terminal's file descriptor.
    """
    said = None
    while (holder := holder_of(instance, pools)) is not None:
        if holder != said:
            said, run = holder, instance.get_run_by_id(holder)
            other = "another command's" if run is None else f"{run.job_name} of {run.tags.get(PARTITION_TAG)}"
            with open(stream, "w", closefd=False, buffering=1) as terminal:
                print(f"{waiting} waits for run {holder} ({other}): one run at a time computes", file=terminal)
        time.sleep(_LOOK_SECONDS)
        fail_abandoned_runs(instance)


def holder_of(instance: dg.DagsterInstance, pools: Set[str]) -> str | None:
    """A run that holds a slot of one of these pools; None where all are free."""
    storage = instance.event_log_storage
    known = sorted(pools & set(storage.get_concurrency_keys()))
    claimed = (slot for pool in known for slot in storage.get_concurrency_info(pool).claimed_slots)
    return next((slot.run_id for slot in claimed), None)
