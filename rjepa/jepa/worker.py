"""One of several processes that train a world model together; torchrun starts them.

    torchrun --standalone --nproc-per-node 2 -m rjepa.jepa.worker --llm tiny-a --dataset v1.0.0 --recipe demo

The asset rjepa_checkpoint does the same with `processes: 2` in its config. On several machines, start torchrun on each
with one shared RJEPA_HOME, then materialise rjepa_checkpoint: it finds the finished run, judges and records it. The
first process reports its progress and, at the end, the model's hash, as `rjepa.workers` says.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from rjepa.errors import RjepaError
from rjepa.home import Home
from rjepa.progress import silent
from rjepa.workers import StdoutReporter


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says, and torchrun's variables; the exit code."""
    parser = argparse.ArgumentParser(prog="torchrun --nproc-per-node N -m rjepa.jepa.worker")
    parser.add_argument("--llm", required=True, help="llm_tag whose latents are read")
    parser.add_argument("--dataset", required=True, help="dataset version")
    parser.add_argument("--recipe", required=True, help="name of a file in configs/rjepa/")
    parser.add_argument(
        "--seed", type=int, help="train the variant of this seed, beside the model that may be released"
    )
    options = parser.parse_args(arguments)
    reporter = StdoutReporter()

    import torch

    from rjepa.jepa.distributed import started_by_torchrun
    from rjepa.jepa.stage import train_together
    from rjepa.settings import load_settings

    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    try:
        with started_by_torchrun(device) as processes:
            progress = reporter.progress if processes.first else silent
            home = Home(load_settings().home)
            report = train_together(
                home,
                options.llm,
                options.dataset,
                options.recipe,
                options.seed,
                progress,
                processes,
                os.environ,
                device,
            )
            if processes.first:
                reporter.finished(report.data_version, {})
    except RjepaError as error:
        reporter.failed(error.problem, error.cure)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
