"""Start the processes of one training, or several trainings side by side, on this machine, and wait for them.

What each process does is `rjepa.jepa.worker`, how it reports `rjepa.workers`. One whose parent is killed ends with its
next report.
"""

import os
import queue
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from rjepa.home import Home
from rjepa.progress import Progress, silent
from rjepa.workers import WorkerProcess

_WORKER: Final = "rjepa.jepa.worker"
_Report = tuple[int, int, int]
"""Which run it is, updates done, updates in all. None in its place: a run has ended, and has reported all it had to."""


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
    _start(f"training with {count} processes", home, command, threads).follow(progress)


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
    reports: queue.Queue[_Report | None] = queue.Queue()
    running: list[WorkerProcess] = []
    is_over = threading.Event()

    def train(number: int) -> None:
        recipe, seed = runs[number]
        command = _worker(llm_tag, dataset, recipe, seed)
        process = _start(f"training {recipe}, seed {seed},", home, command, threads=cores // at_once)
        running.append(process)
        if is_over.is_set():  # while this one was being started: the code that stops the others may not see it
            process.stop()
        process.follow(lambda done, total, note="": reports.put((number, done, total)))

    with ThreadPoolExecutor(at_once) as pool:
        try:
            futures = [pool.submit(train, number) for number in range(len(runs))]
            for future in futures:
                future.add_done_callback(lambda _: reports.put(None))
            _follow_all(runs, futures, reports, progress)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            is_over.set()
            for process in running:
                process.stop()


def _follow_all(
    runs: Sequence[tuple[str, int]],
    futures: Sequence[Future[None]],
    reports: "queue.Queue[_Report | None]",
    progress: Progress,
) -> None:
    """Pass on what the runs report, in this thread, until all have ended or one has failed."""
    shares, ended = dict[int, float](), 0
    while ended < len(runs):
        report = reports.get()
        if report is None:
            ended += 1
            for future in futures:
                if future.done():
                    future.result()
            continue
        number, done, total = report
        shares[number] = done / max(total, 1)
        under_way = [f"{runs[at][0]}-{runs[at][1]} {share:.0%}" for at, share in sorted(shares.items()) if share < 1]
        progress(int(100 * sum(shares.values())), 100 * len(runs), ", ".join(under_way))


def _worker(llm_tag: str, dataset: str, recipe: str, seed: int | None) -> list[str]:
    command = ["-m", _WORKER, "--llm", llm_tag, "--dataset", dataset, "--recipe", recipe]
    return command + ([] if seed is None else ["--seed", str(seed)])


def _start(what: str, home: Home, arguments: Sequence[str], threads: int) -> WorkerProcess:
    variables = {"RJEPA_HOME": str(home.root), "OMP_NUM_THREADS": str(threads)}
    cure = "see the error above; what was trained is kept, and the next run goes on from there"
    return WorkerProcess([sys.executable, *arguments], what=what, cure=cure, variables=variables, keep_errors=True)
