"""What the benchmarks of the student side run on: the bundled tiny-a (or its untrained twin), curriculum problems, and
a clock that other processes do not disturb.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from rjepa.configs import CONFIGS, load_config
from rjepa.home import Home
from rjepa.problems.curriculum.generate import CURRICULUM_DOMAINS, generate_problems
from rjepa.schemas import ChainOfThought, Problem
from rjepa.students.catalog import load_record
from rjepa.students.loading import Student, load_student
from rjepa.students.recipe import StudentRecipe
from rjepa.students.resolving import BUNDLED, resolve_student


def open_subject(folder: Path) -> tuple[Student, str]:
    """tiny-a and the words "bundled"; where its weights are not there, the same shape and "untrained"."""
    home = Home(folder / "home")
    record = load_record(home, "tiny-a")
    if (BUNDLED / "tiny-a").is_dir():
        return load_student(resolve_student(home, record), device="cpu"), "bundled"
    from rjepa.students.tokenizer import train_tokenizer
    from rjepa.students.training import build_model

    torch.manual_seed(0)
    recipe = load_config(CONFIGS / "students" / "recipes" / "tiny-a.yaml", StudentRecipe)
    texts = [problem.statement for problem, _ in subject_problems(100)]
    tokenizer = train_tokenizer(texts, recipe.vocab_size)
    model = build_model(recipe, tokenizer)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    record = record.model_copy(update={"model": str(folder / "model")})
    return load_student(resolve_student(home, record), device="cpu"), "untrained"


def subject_problems(count: int) -> list[tuple[Problem, ChainOfThought]]:
    """`count` problems of each curriculum domain with their gold chains."""
    return [pair for domain in CURRICULUM_DOMAINS for pair in generate_problems("validation", count, 0, domain)]


def cpu_seconds(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Least CPU seconds of this process for each work, taken in turn so that a busy minute disturbs all alike.

    On one thread that is about the time of an idle machine.
    """
    least = dict.fromkeys(works, float("inf"))
    for _ in range(repeats):
        for name, work in works.items():
            started = time.process_time()
            work()
            least[name] = min(least[name], time.process_time() - started)
    return least


def report(name: str, figures: dict[str, float | str], targets: dict[str, float]) -> None:
    """Print the figures, and as the last line the JSON object. A target is the least a figure may be."""
    for key, value in figures.items():
        print(f"{key:40s} {value}")
    holds = all(float(figures[key]) >= least for key, least in targets.items())
    print(json.dumps({"name": name, "figures": figures, "targets": targets, "holds": holds}))


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for a benchmark's files, removed after it."""
    return tempfile.TemporaryDirectory(prefix="rjepa-benchmark-")
