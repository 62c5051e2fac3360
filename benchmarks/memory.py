"""Peak memory of training on 10 000 and on a million chains: it should not grow with the data.

`python -m benchmarks.memory`. Synthetic shards (narrow ones, 24 columns: it is the chains that are many here), on
which the normaliser is fitted and `smoke` trained and diagnosed, in a fresh process each, as the assets do it. `peak`
is the largest resident set of the process, `anonymous` the part of it that the system cannot drop and read again from
a file. What a process holds before it opens any latents (the interpreter, torch) is in both and is printed.
"""

import json
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from benchmarks.subject import report, temporary_folder
from benchmarks.synthetic import write_shards
from rjepa.home import Home

SIZES: Final = (10_000, 1_000_000)
WIDTH: Final = 24
PAIR: Final = ("tiny", "synthetic")
TARGETS: Final = {"peak_of_small_over_large": 1 / 1.2}
"""Peak memory may grow by a fifth."""


def main() -> None:
    """Measure both sizes in fresh processes and report."""
    found: dict[int, dict[str, float]] = {}
    with temporary_folder() as folder:
        for size in SIZES:
            home = Home(Path(folder) / str(size))
            write_shards(home, *PAIR, size, WIDTH)
            command = [sys.executable, "-m", __spec__.name, str(home.root)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[size] = json.loads(done.stdout.splitlines()[-1])
    small, large = (found[size] for size in SIZES)
    figures: dict[str, float | str] = {}
    for size, figure in found.items():
        figures |= {f"{name}_at_{size}": value for name, value in figure.items()}
    report(
        "memory",
        {
            **figures,
            "peak_ratio": large["peak_megabytes"] / small["peak_megabytes"],
            "peak_of_small_over_large": small["peak_megabytes"] / large["peak_megabytes"],
            "bytes_a_chain": (large["peak_megabytes"] - small["peak_megabytes"]) * 1e6 / (SIZES[1] - SIZES[0]),
        },
        TARGETS,
    )


def _work(home: Home) -> None:
    """Fit and train as the assets do; print what was held at most."""
    import torch

    from rjepa.jepa.stage import fit_pair_normalizer, train_pair

    torch.set_num_threads(1)
    watch = _Anonymous()
    figures = {"before_megabytes": _peak()}
    fit_pair_normalizer(home, *PAIR)
    figures["fitted_megabytes"] = _peak()
    train_pair(home, *PAIR, "smoke")
    figures |= {"peak_megabytes": _peak(), "anonymous_megabytes": watch.stop()}
    print(json.dumps(figures))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


class _Anonymous:
    """Looks at the anonymous part of the resident set every few milliseconds."""

    def __init__(self) -> None:
        self._largest, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._ended.set()
        self._thread.join()
        return self._largest

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            lines = Path("/proc/self/status").read_text().splitlines()
            kilobytes = next((int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)
            self._largest = max(self._largest, kilobytes * 1024 / 1e6)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _work(Home(Path(sys.argv[1])))
    else:
        main()
