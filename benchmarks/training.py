"""Training R-JEPA: samples a second, and what share of the time the same matrix products alone would take.

`python -m benchmarks.training`. The recipes `demo` (pure) and `rank` at their own size, on synthetic latents of the
bundled students' width. Every matrix product of some updates, forward and backward, is written down with its shapes,
strides and dtype (bfloat16 where the CPU multiplies it natively), and then done again on its own. CPU seconds on one
thread, so that only ratios matter.
"""

import time
from pathlib import Path
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.subject import report, temporary_folder
from benchmarks.synthetic import synthetic_latents
from rjepa.jepa.config import JepaConfig, load_jepa_config
from rjepa.jepa.trainer import train
from rjepa.latents.normalizer import fit_normalizer

PROBLEMS: Final = 1500
WIDTH: Final = 384
WARM: Final = 2
UPDATES: Final = 10
REPEATS: Final = 2
RECIPES: Final = ("demo", "rank")
TARGETS: dict[str, float] = {}
"""None was set: the share says how much is left to gain."""

_PRODUCTS: Final = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"}
Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    figures: dict[str, float | str] = {}
    data = synthetic_latents(PROBLEMS, WIDTH, seed=0)
    normalizer = fit_normalizer(data)
    for recipe in RECIPES:
        config = _short(load_jepa_config(recipe))
        seconds, alone = float("inf"), float("inf")
        with temporary_folder() as folder:
            trunk = None if config.trunk is None else Path(folder) / "trunk"
            if trunk is not None:
                train(_short(load_jepa_config(config.trunk)), data, data, normalizer, trunk)
            recorder = _Products()
            with recorder:
                _train(config, data, normalizer, Path(folder) / "recorded", trunk, recorder.drop)
            for repeat in range(REPEATS):
                seconds = min(seconds, _train(config, data, normalizer, Path(folder) / str(repeat), trunk))
                alone = min(alone, recorder.replay())
        samples = config.optim.batch_size * UPDATES
        figures |= {
            f"{recipe}_samples_per_cpu_second": samples / seconds,
            f"{recipe}_seconds_per_update": seconds / UPDATES,
            f"{recipe}_share_of_matrix_products": alone / seconds,
        }
    report("training", figures, TARGETS)


def _short(config: JepaConfig) -> JepaConfig:
    # One more than is timed: the last one also measures and writes.
    changes = {"updates": WARM + UPDATES + 1, "checkpoint_every": 10_000}
    return config.model_copy(update={"optim": config.optim.model_copy(update=changes)})


def _train(config: JepaConfig, data: Any, normalizer: Any, folder: Path, trunk: Path | None, mark: Any = None) -> float:
    """CPU seconds of the timed updates."""
    at: dict[int, float] = {}

    def watch(done: int, total: int, note: str = "") -> None:
        at[done] = time.process_time()
        if mark is not None:
            mark(done)

    train(config, data, data, normalizer, folder, watch, trunk=trunk)
    return at[WARM + UPDATES] - at[WARM]


class _Products(TorchDispatchMode):
    """Writes down the layouts of the factors of every matrix product of the timed updates."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, list[Layout]]] = []
        self._done = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if WARM <= self._done < WARM + UPDATES and function._schema.name in _PRODUCTS:
            factors = [value for value in args if isinstance(value, torch.Tensor)]
            self._calls.append((function, [(tuple(value.shape), value.stride(), value.dtype) for value in factors]))
        return function(*args, **(kwargs or {}))

    def drop(self, done: int) -> None:
        """An update has ended."""
        self._done = done

    def replay(self) -> float:
        """CPU seconds of all the products, on random factors that are made before."""
        layouts = {layout for _, factors in self._calls for layout in factors}
        made = {
            (shape, strides, dtype): torch.empty_strided(shape, strides, dtype=dtype).uniform_(-1, 1)
            for shape, strides, dtype in layouts
        }
        work = [(function, [made[layout] for layout in factors]) for function, factors in self._calls]
        with torch.no_grad():
            started = time.process_time()
            for function, factors in work:
                function(*factors)
            return time.process_time() - started


if __name__ == "__main__":
    main()
