"""What a student costs on v1.1.0 = v1.0.0 + 5 %: the part of `benchmarks.versioning` that extracts and samples.

The bundled tiny-a on curriculum problems with eight judged chains each; K = 8. Every twenty-first problem, with its
chains, is new in v1.1.0, wherever it lies in the files. CPU seconds of one thread, with the student loaded. A third
build changes the gold answers of v1.1.0, which judges anew and samples nothing; a fourth raises K by two.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch

from benchmarks.judged import CHAINS_A_PROBLEM, write_dataset
from benchmarks.subject import open_subject
from rjepa.home import Home
from rjepa.latents.building import build_latents
from rjepa.latents.freezing import build_rollouts
from rjepa.schemas import ChainOfThought, Problem
from rjepa.stages import StageReport
from rjepa.tables import read_records, write_records

PROBLEMS: Final = 210
NEW_STRIDE: Final = 21
K: Final = 8
OLD: Final = "v1.0.0"
NEW: Final = "v1.1.0"


def measure_kept(folder: Path) -> dict[str, float | str]:
    """Seconds and bytes of both versions, and their ratios."""
    torch.set_num_threads(1)
    student, which = open_subject(folder)
    home = Home(folder / "home")
    write_dataset(home, NEW, PROBLEMS * CHAINS_A_PROBLEM)
    _keep_old(home)
    figures: dict[str, float | str] = {"student": which}

    def extract(dataset: str) -> StageReport:
        return build_latents(home, student, dataset)

    def sample(dataset: str, count: int = K) -> StageReport:
        return build_rollouts(home, student, dataset, num_candidates=count, seed=0, splits=("train",))

    for name, build in (("extraction", extract), ("sampling", sample)):
        old, new = (_timed(home, build, dataset) for dataset in (OLD, NEW))
        figures |= {f"{name}_s_of_{OLD}": round(old[0], 2), f"{name}_s_of_{NEW}": round(new[0], 2)}
        figures |= {f"{name}_ratio": round(new[0] / old[0], 3), f"{name}_bytes_ratio": round(new[1] / old[1], 3)}
        figures[f"{name}_tenth_over_ratio"] = round(0.1 * old[0] / new[0], 2)
    again = [_timed(home, build, NEW)[0] for build in (extract, sample)]
    figures["nothing_new_s"] = round(sum(again), 2)
    _change_gold(home)
    seconds, _, report = _timed(home, sample, NEW)
    figures |= {"other_gold_s": round(seconds, 2), "other_gold_sampled": report.metadata["chains_sampled"]}
    seconds, _, report = _timed(home, lambda dataset: sample(dataset, K + 2), NEW)
    figures |= {"two_more_samples_s": round(seconds, 2), "two_more_samples_found": report.metadata["chains_found"]}
    return figures


def _timed(home: Home, build: Callable[[str], StageReport], dataset: str) -> tuple[float, int, StageReport]:
    """CPU seconds of a build, bytes that it added to the home, and its report."""
    before, started = _bytes(home), time.process_time()
    report = build(dataset)
    return time.process_time() - started, _bytes(home) - before, report


def _bytes(home: Home) -> int:
    return sum(path.stat().st_size for path in home.root.rglob("*") if path.is_file())


def _keep_old(home: Home) -> None:
    """v1.0.0: v1.1.0 without its new problems."""
    problems = read_records(home.dataset(NEW) / "problems.parquet", Problem)
    chains = read_records(home.dataset(NEW) / "validated_chains.parquet", ChainOfThought)
    kept = [problem for index, problem in enumerate(problems) if index % NEW_STRIDE]
    ids = {problem.problem_id for problem in kept}
    write_records(home.dataset(OLD) / "problems.parquet", Problem, kept)
    write_records(
        home.dataset(OLD) / "validated_chains.parquet",
        ChainOfThought,
        [chain for chain in chains if chain.problem_id in ids],
    )


def _change_gold(home: Home) -> None:
    path = home.dataset(NEW) / "problems.parquet"
    problems = read_records(path, Problem)
    write_records(path, Problem, [problem.model_copy(update={"answer_gold": "no such answer"}) for problem in problems])
