"""Start the processes of one training, or several trainings side by side, on this machine, and wait for them. What each
process does is `rjepa.jepa.worker`. One whose parent is killed ends when it next tells of its progress.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.processes import end_process
from rjepa.progress import Progress, silent

_WORKER: Final = "rjepa.jepa.worker"
_TAIL: Final = 2000
"""Characters of the processes' errors that are shown when they fail."""

_Told = tuple[int, int, int]
"""Which run it is, updates done, updates in all. None in its place: a run has ended, and has told all it had to."""


def train_with_processes(
    home: Home, llm_tag: str, dataset: str, recipe: str, seed: int | None, count: int, progress: Progress = silent
) -> None:
    """Run the worker in `count` processes of this machine to its end; the model then lies where one process puts it.

    Raises:
        InvalidInputError: the training failed; its last words are shown.
    """
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command += _worker(llm_tag, dataset, recipe, seed)
    threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // count))
    _Running(f"training with {count} processes", home, command, threads).follow(progress)


def train_side_by_side(
    home: Home, llm_tag: str, dataset: str, runs: Sequence[tuple[str, int]], progress: Progress = silent
) -> None:
    """Train variants (recipe, seed), as many at once as there are cores (or OMP_NUM_THREADS says), each in a process
    with its share of them.

    A model this small gains little from a second thread, and a second training all of it.

    Raises:
        InvalidInputError: a training failed; its last words are shown. The others are stopped, and go on next time.
    """
    cores = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    at_once = min(len(runs), cores)
    told: queue.Queue[_Told | None] = queue.Queue()
    running: list[_Running] = []
    is_over = threading.Event()

    def train(number: int) -> None:
        recipe, seed = runs[number]
        process = _Running(
            f"training {recipe}, seed {seed},",
            home,
            _worker(llm_tag, dataset, recipe, seed),
            threads=cores // at_once,
        )
        running.append(process)
        if is_over.is_set():  # while this one was being started: whoever stops the others may not have seen it
            process.stop()
        process.follow(lambda done, total, note="": told.put((number, done, total)))

    with ThreadPoolExecutor(at_once) as pool:
        try:
            futures = [pool.submit(train, number) for number in range(len(runs))]
            for future in futures:
                future.add_done_callback(lambda _: told.put(None))
            _follow_all(runs, futures, told, progress)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            is_over.set()
            for process in running:
                process.stop()


def _follow_all(
    runs: Sequence[tuple[str, int]],
    futures: Sequence[Future[None]],
    told: "queue.Queue[_Told | None]",
    progress: Progress,
) -> None:
    """Pass on what the runs tell, in this thread, until all have ended or one has failed."""
    shares, ended = dict[int, float](), 0
    while ended < len(runs):
        news = told.get()
        if news is None:
            ended += 1
            for future in futures:
                if future.done():
                    future.result()
            continue
        number, done, total = news
        shares[number] = done / max(total, 1)
        under_way = [f"{runs[at][0]}-{runs[at][1]} {share:.0%}" for at, share in sorted(shares.items()) if share < 1]
        progress(int(100 * sum(shares.values())), 100 * len(runs), ", ".join(under_way))


def _worker(llm_tag: str, dataset: str, recipe: str, seed: int | None) -> list[str]:
    command = ["-m", _WORKER, "--llm", llm_tag, "--dataset", dataset, "--recipe", recipe]
    return command + ([] if seed is None else ["--seed", str(seed)])


class _Running:
    """A command of this Python that tells of its progress in JSON lines."""

    def __init__(self, what: str, home: Home, arguments: Sequence[str], threads: int) -> None:
        environment = {**os.environ, "RJEPA_HOME": str(home.root), "OMP_NUM_THREADS": str(threads)}
        self._what = what
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed where the process is followed
        self._process = subprocess.Popen(
            [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def follow(self, progress: Progress) -> None:
        """Wait for its end, passing its progress on."""
        with self._errors, self._process as process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    _relay(line, progress)
                code = process.wait()
            finally:
                # An interrupt of this process, or an error of the progress callback, ends the others too.
                self.stop()
            if code:
                self._errors.seek(0)
                raise InvalidInputError(
                    f"{self._what} failed: {_reason(self._errors.read())}",
                    cure="see the error above; what was trained is kept, and the next run goes on from there",
                )

    def stop(self) -> None:
        """End it, if it still runs: a training goes on from its last checkpoint, however it ended."""
        end_process(self._process)


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
