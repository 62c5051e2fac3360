"""Modes against best-of-8: tokens and CPU seconds for the same accuracy, on test problems of a release.

`RJEPA_HOME=... python -m benchmarks.modes [--problems 120]`. The home has to hold a release (`rjepa demo` makes one).
Best-of-K is run with the same questions as the modes, so that seconds compare; tokens for equal accuracy are read off
its ladder K = 1, 2, 4, 8, between the two nearest.
"""

import argparse
import resource
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch

from benchmarks.subject import report
from rjepa.datasets.reading import load_problems
from rjepa.engine import Engine
from rjepa.evaluation.trials import Trial, run_trial
from rjepa.home import Home
from rjepa.schemas import Problem
from rjepa.settings import load_settings

LADDER: Final = (1, 2, 4, 8)
MODES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "auto": ("rerank", {"num_candidates": "auto", "max_candidates": "8"}),
    "repair": ("repair", {}),
    "tree": ("tree", {}),
}
TARGETS: Final = {"best_of_8_tokens_over_a_mode_s": 1 / 0.15, "best_of_8_seconds_over_a_mode_s": 1 / 0.4}
"""The accuracy of best-of-8 for 0.15 of its tokens and 0.4 of its seconds."""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=120)
    parser.add_argument("--llm", default="tiny-a")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    home = Home(load_settings().home)
    engine = Engine.load(home, arguments.llm, "cpu")
    every = load_problems(home, engine.manifest.dataset, "test")
    chosen = np.linspace(0, len(every) - 1, min(arguments.problems, len(every))).astype(int)
    problems = [every[place] for place in chosen]
    ladder = [_run(engine, problems, f"best of {k}", "rerank", {"num_candidates": str(k)}) for k in LADDER]
    best, best_seconds = ladder[-1]
    figures: dict[str, float | str] = {"problems": float(len(problems)), **_figures("best_of_8", best, best_seconds)}
    saved: list[tuple[float, float]] = []
    for name, (mode, options) in MODES.items():
        trial, seconds = _run(engine, problems, name, mode, options)
        figures |= _figures(name, trial, seconds)
        tokens, cpu = _at_accuracy([(one, spent) for one, spent in ladder], float(trial.correct.mean()))
        figures[f"{name}_tokens_over_best_of_k_at_equal_accuracy"] = float(trial.tokens.mean()) / tokens
        figures[f"{name}_seconds_over_best_of_k_at_equal_accuracy"] = seconds / cpu
        if trial.correct.mean() >= best.correct.mean():
            saved.append((float(best.tokens.mean() / trial.tokens.mean()), best_seconds / seconds))
    # 0 where no mode reaches the accuracy.
    figures["best_of_8_tokens_over_a_mode_s"] = max((tokens for tokens, _ in saved), default=0.0)
    figures["best_of_8_seconds_over_a_mode_s"] = max((cpu for _, cpu in saved), default=0.0)
    report("modes", figures, TARGETS)


def _run(
    engine: Engine, problems: Sequence[Problem], label: str, mode: str, options: dict[str, Any]
) -> tuple[Trial, float]:
    """A mode's answers, and the CPU seconds that they took."""
    before = _cpu()
    trial = run_trial(label, mode, options, problems, [0], engine.answer_many)
    return trial, _cpu() - before


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _figures(name: str, trial: Trial, seconds: float) -> dict[str, float]:
    return {
        f"{name}_accuracy": float(trial.correct.mean()),
        f"{name}_tokens": float(trial.tokens.mean()),
        f"{name}_cpu_seconds_a_problem": seconds / len(trial.correct),
    }


def _at_accuracy(ladder: Sequence[tuple[Trial, float]], accuracy: float) -> tuple[float, float]:
    """Tokens a problem and seconds of best-of-K at an accuracy; those of the ladder's ends beyond them."""
    reached = np.maximum.accumulate([trial.correct.mean() for trial, _ in ladder])
    tokens, seconds = [trial.tokens.mean() for trial, _ in ladder], [spent for _, spent in ladder]
    return float(np.interp(accuracy, reached, tokens)), float(np.interp(accuracy, reached, seconds))


if __name__ == "__main__":
    main()
