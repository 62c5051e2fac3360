"""What a Dagster step around extraction costs: seconds that do not grow with the chains.

`python -m benchmarks.dagster_step`. The asset `latents` is materialised in process for two sizes of data and compared
with the same library calls (load the student, build its latents). CPU seconds on one thread, each into a fresh folder.
Checks are not run: they read what was made, which is work of their own.
"""

import shutil
import time
import warnings
from pathlib import Path
from typing import Final

import dagster as dg
import torch

from benchmarks.judged import write_dataset
from benchmarks.subject import report, temporary_folder
from rjepa.home import Home
from rjepa.latents.building import build_latents
from rjepa.students.stage import open_student
from rjepa_assets.defs.latents import latents
from rjepa_assets.defs.partitions import DATASET, LLM, partition_key
from rjepa_assets.defs.resources import HomeResource, ProgressResource

SIZES: Final = (96, 768)
REPEATS: Final = 2
STUDENT: Final = "tiny-a"
TARGETS: Final = {"one_over_fixed_seconds": 1.0, "one_over_milliseconds_a_chain": 1.0}
"""Ours, as none was set: a second at most, and at most a millisecond more for each chain."""


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    extra: dict[int, float] = {}
    figures: dict[str, float | str] = {}
    with temporary_folder() as folder:
        for size in SIZES:
            home = Home(Path(folder) / str(size))
            write_dataset(home, f"judged-{size}", size)
            step, bare = float("inf"), float("inf")
            for _ in range(REPEATS):
                bare = min(bare, _seconds(home, size, with_dagster=False))
                step = min(step, _seconds(home, size, with_dagster=True))
            figures |= {f"step_seconds_at_{size}": step, f"bare_seconds_at_{size}": bare}
            extra[size] = step - bare
    small, large = SIZES
    a_chain = max(extra[large] - extra[small], 0.0) / (large - small)
    fixed = max(extra[small] - small * a_chain, 0.0)
    figures |= {
        "fixed_seconds": fixed,
        "milliseconds_a_chain": 1000 * a_chain,
        "one_over_fixed_seconds": 1 / max(fixed, 1e-3),
        "one_over_milliseconds_a_chain": 1 / max(1000 * a_chain, 1e-3),
    }
    report("dagster_step", figures, TARGETS)


def _seconds(home: Home, size: int, with_dagster: bool) -> float:
    """CPU seconds of one build from nothing."""
    dataset = f"judged-{size}"
    shutil.rmtree(home.shards("latents", STUDENT), ignore_errors=True)
    if not with_dagster:
        started = time.process_time()
        build_latents(home, open_student(home, STUDENT), dataset)
        return time.process_time() - started
    with dg.DagsterInstance.ephemeral() as instance, warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        instance.add_dynamic_partitions(DATASET, [dataset])
        instance.add_dynamic_partitions(LLM, [STUDENT])
        started = time.process_time()
        done = dg.materialize(
            [latents],
            partition_key=partition_key(dataset, STUDENT),
            instance=instance,
            resources={"home": HomeResource(root=str(home.root)), "progress": ProgressResource()},
        )
        seconds = time.process_time() - started
    if not done.success:
        raise RuntimeError("the step failed")
    return seconds


if __name__ == "__main__":
    main()
