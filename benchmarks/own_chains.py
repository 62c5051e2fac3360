"""R-JEPA on a real LLM's own chains of sums: sampled for as long as there is time, judged, learnt from and ranked.

`python -m benchmarks.own_chains --llm TAG --until HH:MM [--recipe demo]`, in `$RJEPA_HOME`. Problems are sampled in
chunks until the clock says so; then the right chains of the training problems become a data set, R-JEPA is trained on
them, and every method is judged on the same candidates of the test problems. Chains are kept by statement, so that the
same command with a later time goes on where this one stopped, and a run that was killed loses one chunk.

The student is registered first, its prompt in `registry/students/TAG.yaml` (docs/students.md).
"""

import argparse
import datetime
import itertools
import time
from collections.abc import Iterator
from typing import Any, Final

import torch

from benchmarks.subject import report
from rjepa.datasets.building import build_problems, release_dataset, validate_chains
from rjepa.datasets.recipe import DatasetRecipe
from rjepa.datasets.stages import PROBLEMS, TEACHER_CHAINS, store
from rjepa.evaluation.stage import build_calibration, build_report
from rjepa.home import Home
from rjepa.jepa.stage import build_checkpoint, build_normalizer
from rjepa.latents.building import build_latents
from rjepa.latents.freezing import build_rollouts
from rjepa.latents.rollouts import open_rollouts
from rjepa.problems.reasoning_gym import GymTask
from rjepa.schemas import ChainOfThought, Problem
from rjepa.settings import load_settings
from rjepa.students.loading import Student
from rjepa.students.stage import open_student
from rjepa.tables import read_records, write_records

CANDIDATES: Final = 4
CHUNK: Final = 40
"""Problems: what a killed run loses."""
SIZES: Final = {"train": 1000, "validation": 260, "test": 260}
SEEDS: Final = {"train": 1_000_000, "validation": 2_000_000, "test": 3_000_000}
"""Far apart: reasoning-gym draws problem n of seed s as problem 0 of seed s + n."""
SUMS: Final = {"min_terms": 4, "max_terms": 6, "max_digits": 2}
"""Qwen2.5-Coder-0.5B, shown one worked sum, is right in about half of these at a temperature of 0.7 (lab book 66)."""
SEED: Final = 1


def main() -> None:
    """Sample until it is time, then train and judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.own_chains")
    parser.add_argument("--llm", required=True)
    parser.add_argument("--until", required=True, help="HH:MM, local time")
    parser.add_argument("--recipe", default="demo", help="training run of R-JEPA")
    options = parser.parse_args()
    torch.set_num_threads(1)
    home = Home(load_settings().home)
    student = open_student(home, options.llm)
    _say("loaded", student.fingerprint[:12], student.model.dtype)
    problems = []
    for number, chunk in enumerate(_chunks(home)):
        if not _sampled(home, student, f"own-chains-{number:03d}", chunk, options.until):
            break
        problems += chunk
    if not problems:
        raise SystemExit(f"nothing is sampled yet, and {options.until} is past: give a later time")
    recipe = _recipe(f"own-chains-{len(problems)}")
    store(home, recipe, PROBLEMS, problems, {"problems": len(problems), "duplicates_removed": 0})
    for asset in ("rollouts", "train_rollouts"):
        made = build_rollouts(
            home,
            student,
            recipe.name,
            num_candidates=CANDIDATES,
            seed=SEED,
            asset=asset,
        )
        _say(asset, made.metadata)
    _say("candidates", open_rollouts(home, options.llm, recipe.name).regime())
    chains = list(_own_chains(home, options.llm, recipe))
    store(home, recipe, TEACHER_CHAINS, chains, {"chains": len(chains)})
    _say("chains", validate_chains(home, recipe).metadata)
    release_dataset(home, recipe)
    _say("latents", build_latents(home, student, recipe.name).metadata)
    build_normalizer(home, options.llm, recipe.name)
    _say("training", build_checkpoint(home, options.llm, recipe.name, options.recipe).report.metadata)
    _say("calibration", build_calibration(home, options.llm, recipe.name).metadata)
    judged = build_report(home, options.llm, recipe.name)
    print(judged.leaderboard_markdown)
    report("own_chains", {"problems": float(len(problems)), **_plain(judged.report.metadata)}, {})


def _chunks(home: Home) -> Iterator[list[Problem]]:
    """The problems of all splits in turn, and what is left of training after them, in chunks."""
    recipe = _recipe("own-chains")
    build_problems(home, recipe)
    drawn = read_records(home.dataset(recipe.name) / PROBLEMS.file, Problem)
    by_split = {split: [problem for problem in drawn if problem.split == split] for split in SIZES}
    turns = itertools.zip_longest(by_split["test"], by_split["train"], by_split["validation"])
    order = [problem for turn in turns for problem in turn if problem is not None]
    for first in range(0, len(order), CHUNK):
        yield order[first : first + CHUNK]


def _sampled(home: Home, student: Student, name: str, chunk: list[Problem], until: str) -> bool:
    """Sample a chunk if that was not done and there is time; whether its candidates are there."""
    finished = home.dataset(name) / "sampled"
    if finished.exists():
        return True
    if f"{datetime.datetime.now():%H:%M}" >= until:
        return False
    as_test = [problem.model_copy(update={"split": "test"}) for problem in chunk]
    write_records(home.dataset(name) / PROBLEMS.file, Problem, as_test)
    made = build_rollouts(home, student, name, num_candidates=CANDIDATES, seed=SEED, splits=("test",))
    finished.touch()
    _say(name, made.metadata)
    return True


def _recipe(name: str) -> DatasetRecipe:
    tasks = [
        GymTask(task="chain_sum", size=size, seed=SEEDS[split], config=SUMS, split=split, difficulty="easy")
        for split, size in SIZES.items()
    ]
    return DatasetRecipe(
        name=name,
        source="reasoning_gym",
        created=datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC),
        licence="Apache-2.0",
        tasks=tasks,
        validation_floor=0.0,  # the student's wrong chains are among them, as negatives
    )


def _own_chains(home: Home, llm_tag: str, recipe: DatasetRecipe) -> Iterator[ChainOfThought]:
    """The student's distinct chains with steps and an answer, for training and validation problems, not yet judged."""
    for asset, split in (("train_rollouts", "train"), ("rollouts", "validation")):
        found = open_rollouts(home, llm_tag, recipe.name, asset=asset)  # type: ignore[arg-type]
        for problem, row in zip(found.problems, found.candidates, strict=True):
            written = {
                (tuple(one.steps), one.final_answer) for one in row if one.steps and one.final_answer is not None
            }
            for number, (steps, answer) in enumerate(sorted(written) if problem.split == split else ()):
                yield ChainOfThought(
                    cot_id=f"{problem.problem_id}-own-{number}",
                    problem_id=problem.problem_id,
                    steps=list(steps),
                    final_answer=answer,
                    teacher_model=llm_tag,
                    source=problem.source,
                    created_at=recipe.created,
                )


def _plain(metadata: dict[str, Any]) -> dict[str, float | str]:
    return {name: value for name, value in metadata.items() if isinstance(value, int | float | str)}


def _say(*words: object) -> None:
    print(f"[{datetime.datetime.now():%H:%M:%S}] {time.process_time():.0f} CPU s:", *words, flush=True)


if __name__ == "__main__":
    main()
