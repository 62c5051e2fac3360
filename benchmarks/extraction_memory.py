"""Peak memory of a build of latents with 1 000 and with 20 000 chains: it should not grow with the data.

`python -m benchmarks.extraction_memory`. The bundled tiny-a on curriculum chains, eight a problem, in a fresh process
each. `peak` is the largest resident set of the process; `before` what it holds with the student loaded.
"""

import json
import sys
from pathlib import Path
from typing import Final

from benchmarks.judged import write_dataset
from benchmarks.subject import (
    in_fresh_process,
    open_subject,
    peak_megabytes,
    peaks_by_size,
    report,
    temporary_folder,
)
from rjepa.home import Home

SIZES: Final = (1_000, 20_000)
DATASET: Final = "judged"
TARGETS: Final = {"peak_of_small_over_large": 1 / 1.2}
"""Peak memory may grow by a fifth."""


def main() -> None:
    """Measure both sizes in fresh processes and report."""
    found: dict[int, dict[str, float]] = {}
    with temporary_folder() as folder:
        for size in SIZES:
            root = Path(folder) / str(size)
            write_dataset(Home(root / "home"), DATASET, size)
            found[size] = in_fresh_process(__spec__.name, str(root))
    report("extraction_memory", peaks_by_size(found), TARGETS)


def _work(root: Path) -> None:
    """Build as the asset does; print what was held at most."""
    import torch

    from rjepa.latents.building import build_latents

    torch.set_num_threads(1)
    student, _ = open_subject(root)
    before = peak_megabytes()
    made = build_latents(Home(root / "home"), student, DATASET)
    figures = {
        "before_megabytes": before,
        "peak_megabytes": peak_megabytes(),
        "chains": float(made.metadata["chains"]),
        "tokens_a_second": float(made.metadata["tokens_per_second"]),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _work(Path(sys.argv[1]))
    else:
        main()
