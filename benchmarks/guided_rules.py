"""Guided chains of a client that sends `top_p`, against those of one that does not: such tokens are drawn one by one.

`python -m benchmarks.guided_rules --llm tiny-a --dataset v1.0.0 [--problems 40]`, in `$RJEPA_HOME`, after `rjepa
backfill --llm tiny-a --decoders`. Validation problems are answered together in mode nudge with two candidates at 0.8,
in turn with `top_p` 0.9 and without. CPU seconds of the faster of two rounds, after one that is not counted; no target
was set.
"""

import argparse
import time
from typing import Final

import torch

from benchmarks.at_an_endpoint import guiding_parts
from benchmarks.subject import report
from rjepa.datasets.reading import load_problems
from rjepa.home import Home
from rjepa.reasoning.answering import answer_statements
from rjepa.reasoning.question import ask
from rjepa.sampling.local import LocalSource
from rjepa.settings import load_settings
from rjepa.students.catalog import load_record
from rjepa.students.loading import load_student
from rjepa.students.resolving import resolve_student

_ROUNDS: Final = 2


def main() -> None:
    """Ask both ways, and print what each took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guided_rules")
    parser.add_argument("--llm", default="tiny-a")
    parser.add_argument("--dataset", default="v1.0.0")
    parser.add_argument("--problems", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    home = Home(load_settings().home)
    source = LocalSource(load_student(resolve_student(home, load_record(home, options.llm)), device="cpu"))
    parts = guiding_parts(home, source, options.dataset)
    problems = load_problems(home, options.dataset, "validation", options.problems)
    ways = {
        top_p: [ask(one.statement, "nudge", {"num_candidates": 2}, temperature=0.8, top_p=top_p) for one in problems]
        for top_p in (1.0, 0.9)
    }
    seconds: dict[float, list[float]] = {top_p: [] for top_p in ways}
    for _ in range(_ROUNDS + 1):
        for top_p, questions in ways.items():
            started = time.process_time()
            answer_statements(source, parts, questions)
            seconds[top_p].append(time.process_time() - started)
    plain, ruled = (min(seconds[top_p][1:]) for top_p in ways)
    report("guided_rules", {"seconds": plain, "seconds_top_p": ruled, "top_p_over_none": ruled / plain}, {})


if __name__ == "__main__":
    main()
