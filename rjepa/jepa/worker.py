"""One of several processes that train a world model together; torchrun starts them.

    torchrun --standalone --nproc-per-node 2 -m rjepa.jepa.worker --llm tiny-a --dataset v1.0.0 --recipe demo

The asset rjepa_checkpoint does the same with `processes: 2` in its config. On several machines, start torchrun on each
with one shared RJEPA_HOME, then materialise rjepa_checkpoint: it finds the finished run, judges and records it. The
first process prints its progress as one JSON object a line, and at the end the model's hash.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Final

from rjepa.errors import RjepaError
from rjepa.home import Home
from rjepa.progress import silent

_SECONDS_BETWEEN_LINES: Final = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as told by the command line and torchrun's variables; the exit code."""
    parser = argparse.ArgumentParser(prog="torchrun --nproc-per-node N -m rjepa.jepa.worker")
    parser.add_argument("--llm", required=True, help="llm_tag whose latents are read")
    parser.add_argument("--dataset", required=True, help="dataset version")
    parser.add_argument("--recipe", required=True, help="name of a file in configs/rjepa/")
    parser.add_argument(
        "--seed", type=int, help="train the variant of this seed, beside the model that may be released"
    )
    told = parser.parse_args(arguments)

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
            progress = _JsonLines() if processes.first else silent
            home = Home(load_settings().home)
            report = train_together(
                home, told.llm, told.dataset, told.recipe, told.seed, progress, processes, os.environ, device
            )
            if processes.first:
                print(json.dumps({"data_version": report.data_version}), flush=True)
    except RjepaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


class _JsonLines:
    """Progress as JSON lines on stdout, a few a second."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        if done == total or time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            print(json.dumps({"done": done, "total": total, "note": note}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
