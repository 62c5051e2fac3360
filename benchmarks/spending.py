"""Draw the README's first plot: accuracy against tokens, of policies on frozen candidates and of modes that were tried.

`RJEPA_HOME=... python -m benchmarks.spending [--llm tiny-a] [--dataset v1.0.0] [--out docs/accuracy-by-tokens.png]`,
after `rjepa eval --mode nudge`, `--mode repair` and so on: it draws those that are kept beside the report and were
tried on most problems. Nothing is measured here; every report of a home begins with the same plot.
"""

import argparse
from pathlib import Path
from typing import Final

from benchmarks.subject import report
from rjepa.evaluation.plots import draw_spending
from rjepa.evaluation.trials import MODE_FAMILY, TrialRow, load_trials
from rjepa.files import atomic_path
from rjepa.home import Home
from rjepa.settings import load_settings

TARGETS: Final = {"modes": 1.0}


def main() -> None:
    """Read, draw, list what was drawn."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spending")
    parser.add_argument("--llm", default="tiny-a")
    parser.add_argument("--dataset", default="v1.0.0")
    parser.add_argument("--out", type=Path, default=Path("docs/accuracy-by-tokens.png"))
    options = parser.parse_args()
    every = load_trials(Home(load_settings().home).reports(options.llm, options.dataset))
    problems = max((trial.problems for trial in every), default=0)
    trials = [trial for trial in every if trial.problems == problems]
    policies = [row for row in trials[0].rows if row.family != MODE_FAMILY] if trials else []
    modes = [row for trial in trials for row in trial.rows if row.family == MODE_FAMILY]
    for row in [*policies, *modes]:
        print(_line(row))
    with atomic_path(options.out) as path:
        path.write_bytes(draw_spending((*policies, *modes)))
    report("spending", {"problems": float(problems), "modes": float(len(modes))}, TARGETS)


def _line(row: TrialRow) -> str:
    ahead = "" if row.ahead is None else f"{row.ahead:+.3f} [{row.ahead_low:+.3f}, {row.ahead_high:+.3f}]"
    return f"| {row.label} | {row.tokens:.0f} | {row.accuracy:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}] | {ahead} |"


if __name__ == "__main__":
    main()
