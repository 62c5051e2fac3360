"""Start the processes of one training on this machine, and wait for them. What each does is `rjepa.jepa.worker`."""

import json
import os
import subprocess
import sys
import tempfile
from typing import Final

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.progress import Progress, silent

_WORKER: Final = "rjepa.jepa.worker"
_TAIL: Final = 2000
"""Characters of the processes' errors that are shown when they fail."""


def train_with_processes(
    home: Home, llm_tag: str, dataset: str, recipe: str, seed: int | None, count: int, progress: Progress = silent
) -> None:
    """Run the worker in `count` processes of this machine to its end; the model then lies where one process puts it.

    Raises:
        InvalidInputError: the training failed; its last words are shown.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command += ["-m", _WORKER, "--llm", llm_tag, "--dataset", dataset, "--recipe", recipe]
    command += [] if seed is None else ["--seed", str(seed)]
    environment = {**os.environ, "RJEPA_HOME": str(home.root)}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                _relay(line, progress)
            code = process.wait()
        finally:
            # An interrupt of this process, or an error of the progress callback, ends the others too.
            if process.poll() is None:
                process.terminate()
        if code:
            errors.seek(0)
            raise InvalidInputError(
                f"training with {count} processes failed: {_reason(errors.read())}",
                cure="see the error above; one process (`processes: 1`) goes on from the last checkpoint",
            )


def _relay(line: str, progress: Progress) -> None:
    try:
        told = json.loads(line)
        progress(int(told["done"]), int(told["total"]), str(told["note"]))
    except (json.JSONDecodeError, KeyError, TypeError):
        return


def _reason(errors: str) -> str:
    """What a worker said of its own failure; else the last that any process wrote."""
    said = errors.rpartition("error: ")[2].partition("\n")[0] if "\nerror: " in f"\n{errors}" else ""
    return said or errors[-_TAIL:].strip()
