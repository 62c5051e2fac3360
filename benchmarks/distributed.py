"""Two training processes against one, both started by torchrun, one thread each.

`python -m benchmarks.distributed`. The recipe `demo` at its own size on synthetic latents. Wall time says what two
quiet cores gain; CPU time of both together against that of one says what working together costs, and holds on a busy
machine too.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.subject import report, temporary_folder
from benchmarks.synthetic import synthetic_latents
from rjepa.files import read_json, write_json
from rjepa.jepa.config import load_jepa_config
from rjepa.jepa.distributed import started_by_torchrun
from rjepa.jepa.trainer import train
from rjepa.latents.normalizer import fit_normalizer

PROBLEMS: Final = 1500
WIDTH: Final = 384
WARM: Final = 2
UPDATES: Final = 12
REPEATS: Final = 2
TARGETS: Final = {"wall_speedup": 1.5, "cpu_of_one_over_cpu_of_two": 0.8}
"""Ours: none was set. The first needs two cores that nobody else uses."""


def main() -> None:
    """Measure in turn and report."""
    wall, cpu = {1: float("inf"), 2: float("inf")}, {1: float("inf"), 2: float("inf")}
    with temporary_folder() as folder:
        for repeat in range(REPEATS):
            for size in (1, 2):
                at = Path(folder) / f"{size}-{repeat}"
                command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
                subprocess.run([*command, "-m", __spec__.name, str(at)], check=True, env=_environment())
                found = [read_json(path) for path in sorted(at.glob("timed-*.json"))]
                wall[size] = min(wall[size], max(each["wall"] for each in found))
                cpu[size] = min(cpu[size], sum(each["cpu"] for each in found))
    report(
        "distributed",
        {
            "cores": float(os.cpu_count() or 1),
            "busy_processes": float(os.getloadavg()[0]),
            "seconds_per_update_one": wall[1] / UPDATES,
            "seconds_per_update_two": wall[2] / UPDATES,
            "wall_speedup": wall[1] / wall[2],
            "cpu_of_one_over_cpu_of_two": cpu[1] / cpu[2],
        },
        TARGETS,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _work(folder: Path) -> None:
    """What each process does: train, and write down what the timed updates took."""
    torch.set_num_threads(1)
    config = load_jepa_config("demo")
    changes = {"updates": WARM + UPDATES + 1, "checkpoint_every": 10_000}
    config = config.model_copy(update={"optim": config.optim.model_copy(update=changes)})
    data = synthetic_latents(PROBLEMS, WIDTH, seed=0)
    at: dict[int, tuple[float, float]] = {}

    with started_by_torchrun() as processes:
        rank = processes.rank

        def stepped(*_: object) -> None:
            at[len(at) + 1] = (time.perf_counter(), time.process_time())

        # Progress is reported by the first process alone, the optimiser's step is taken by all.
        handle = register_optimizer_step_post_hook(stepped)
        train(config, data, data, fit_normalizer(data), folder, processes=processes)
        handle.remove()
    first, last = at[WARM], at[WARM + UPDATES]
    write_json(folder / f"timed-{rank}.json", {"wall": last[0] - first[0], "cpu": last[1] - first[1]})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _work(Path(sys.argv[1]))
    else:
        main()
