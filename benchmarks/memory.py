"""Peak memory of training on 10 000 and on a million chains: it should not grow with the data.

`python -m benchmarks.memory`. Synthetic shards (narrow ones, 24 columns: it is the chains that are many here), on
which the normaliser is fitted and `smoke` trained and diagnosed, in a fresh process each, as the assets do it. `peak`
is the largest resident set of the process, `anonymous` the part of it that the system cannot drop and read again from
a file. What a process holds before it opens any latents (the interpreter, torch) is in both and is printed.
"""

import json
import sys
import threading
from pathlib import Path
from typing import Final

from benchmarks.subject import in_fresh_process, peak_megabytes, peaks_by_size, report, temporary_folder
from benchmarks.synthetic import write_shards
from rjepa.home import Home

SIZES: Final = (10_000, 1_000_000)
WIDTH: Final = 24
PARTITION: Final = ("tiny", "synthetic")
TARGETS: Final = {"peak_of_small_over_large": 1 / 1.2}
"""Peak memory may grow by a fifth."""


def main() -> None:
    """Measure both sizes in fresh processes and report."""
    found: dict[int, dict[str, float]] = {}
    with temporary_folder() as folder:
        for size in SIZES:
            home = Home(Path(folder) / str(size))
            write_shards(home, *PARTITION, size, WIDTH)
            found[size] = in_fresh_process(__spec__.name, str(home.root))
    small, large = (found[size] for size in SIZES)
    report(
        "memory",
        {
            **peaks_by_size(found),
            "bytes_a_chain": (large["peak_megabytes"] - small["peak_megabytes"]) * 1e6 / (SIZES[1] - SIZES[0]),
        },
        TARGETS,
    )


def _work(home: Home) -> None:
    """Fit and train as the assets do; print what was held at most."""
    import torch

    from rjepa.jepa.stage import build_checkpoint, build_normalizer

    torch.set_num_threads(1)
    watch = _Anonymous()
    figures = {"before_megabytes": peak_megabytes()}
    build_normalizer(home, *PARTITION)
    figures["fitted_megabytes"] = peak_megabytes()
    build_checkpoint(home, *PARTITION, "smoke")
    figures |= {"peak_megabytes": peak_megabytes(), "anonymous_megabytes": watch.stop()}
    print(json.dumps(figures))


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
