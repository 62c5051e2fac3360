"""Every mode on problems of a kind that R-JEPA does not know: is any of them worse than the student alone?

`RJEPA_HOME=... python -m benchmarks.guard [--llm tiny-a] [--on gsm_symbolic] [--problems 350]`. The home has to hold a
release, with decoders for the modes that need them (`rjepa backfill --decoders`); the problems are made if they are not
there. Each mode is asked as somebody would who names nothing but the mode, and compared with mode off on the same
problems; "known" is the share of problems that it took for those of a known kind.
"""

import argparse
from typing import Any, Final

import numpy as np
import torch

from benchmarks.guidance import interval
from benchmarks.subject import report
from rjepa.datasets.building import build_problems
from rjepa.datasets.reading import load_problems
from rjepa.datasets.recipe import load_recipe
from rjepa.engine import Engine
from rjepa.home import Home
from rjepa.reasoning.question import ask
from rjepa.settings import load_settings
from rjepa.validation.judge import judge

WAYS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "off": ("off", {}),
    "rerank": ("rerank", {}),
    "rerank, auto": ("rerank", {"num_candidates": "auto"}),
    "repair": ("repair", {}),
    "repair, 4 chains": ("repair", {"chains": 4}),
    "tree": ("tree", {}),
    "tree, beam": ("tree", {"search": "beam", "width": 2, "branching": 2}),
    "nudge": ("nudge", {}),
    "nudge, 4 candidates": ("nudge", {"num_candidates": 4}),
    "nudge, no guard": ("nudge", {"unfamiliar": "guide"}),
    "plan": ("plan", {}),
}
"""Named as in the table. The one without a guard shows what the guard is for, and is not judged."""

TARGETS: Final = {"worst_mode_minus_off_high": 0.0}
"""The upper end of the interval of the worst mode's difference: below 0 it would be worse than the student alone."""

_TOGETHER: Final = 50


def main() -> None:
    """Answer, judge, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard")
    parser.add_argument("--llm", default="tiny-a")
    parser.add_argument("--on", default="gsm_symbolic")
    parser.add_argument("--problems", type=int, default=350)
    options = parser.parse_args()
    torch.set_num_threads(1)
    home = Home(load_settings().home)
    build_problems(home, load_recipe(home, options.on))
    problems = load_problems(home, options.on, "test", options.problems)
    engine = Engine.load(home, options.llm, "cpu")
    right, known, tokens = {}, {}, {}
    for name, (mode, asked) in WAYS.items():
        if mode not in engine.modes:
            print(f"{name}: not offered by the release", flush=True)
            continue
        answers = []
        for first in range(0, len(problems), _TOGETHER):
            part = problems[first : first + _TOGETHER]
            answers += engine.answer_many([ask(one.statement, mode, asked) for one in part])
        verdicts = [
            judge(one, answer.steps, answer.final_answer) for one, answer in zip(problems, answers, strict=True)
        ]
        right[name] = np.array([bool(one.is_correct) for one in verdicts], dtype=float)
        known[name] = np.mean([one.explanation is not None and one.explanation.familiar for one in answers])
        tokens[name] = np.mean([one.cost.tokens_generated for one in answers])
        print(f"{name}: {right[name].mean():.3f}, known {known[name]:.3f}", flush=True)
    print("\n| mode | tokens | known | accuracy [95 %] | minus off [95 %] |\n|---|---|---|---|---|")
    figures: dict[str, float | str] = {"problems": float(len(problems)), "off": float(right["off"].mean())}
    worst = np.inf
    for name, found in right.items():
        (low, high), (below, above) = interval(found), interval(found - right["off"])
        difference = float((found - right["off"]).mean())
        print(
            f"| {name} | {tokens[name]:.0f} | {known[name]:.3f} | {found.mean():.3f} [{low:.3f}, {high:.3f}] "
            f"| {difference:+.3f} [{below:+.3f}, {above:+.3f}] |"
        )
        if name not in ("off", "nudge, no guard"):
            figures[f"{name} minus off"] = difference
            worst = min(worst, above)
    figures["worst_mode_minus_off_high"] = float(worst)
    report("guard", figures, TARGETS)


if __name__ == "__main__":
    main()
