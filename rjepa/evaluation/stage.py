"""The two stages of an evaluation for one student and one dataset: fit the calibration, judge every method.

Reads rollouts and models, calls, writes files. What is fitted and measured lives in `evaluating`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from rjepa.errors import InvalidInputError
from rjepa.evaluation.baselines import METHOD, RivalFit
from rjepa.evaluation.evaluating import calibrate, evaluate
from rjepa.evaluation.frozen import energies_of, open_frozen, with_rivals
from rjepa.evaluation.gallery import gallery_markdown
from rjepa.evaluation.leaderboard import ALL
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.reading import served_method
from rjepa.evaluation.report import write_report
from rjepa.evaluation.results import EvaluationResult
from rjepa.evaluation.rivals import fit_rivals
from rjepa.files import read_json, sha256_file, write_json
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.jepa.checkpoint import MODEL_FILE
from rjepa.jepa.model import RJepa
from rjepa.jepa.stage import model_folder, normalizer_file, open_world_model
from rjepa.latents.normalizer import Normalizer
from rjepa.latents.rollouts import open_rollouts
from rjepa.progress import Progress, silent
from rjepa.schemas import Split
from rjepa.stages import StageReport

INPUTS_FILE: Final = "inputs.json"
"""Hashes of what was judged, so that a release can tell a report of other files."""


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark shows beside its report: leaderboard and gallery as Markdown, and plots as PNG by name."""

    report: StageReport
    leaderboard_markdown: str
    gallery_markdown: str
    plots: dict[str, bytes]


def calibration_file(home: Home, llm_tag: str, dataset: str) -> Path:
    """Where the calibration of one student and dataset lies."""
    return home.models(llm_tag, dataset) / "calibration.json"


def judged_files(home: Home, llm_tag: str, dataset: str) -> dict[str, str]:
    """Hex SHA-256 of the files that a benchmark judges and a release holds."""
    paths = {
        "model": model_folder(home, llm_tag, dataset) / MODEL_FILE,
        "normalizer": normalizer_file(home, llm_tag, dataset),
        "calibration": calibration_file(home, llm_tag, dataset),
    }
    return {name: sha256_file(path) for name, path in paths.items()}


def open_pool(
    home: Home,
    llm_tag: str,
    dataset: str,
    split: Split,
    world_model: tuple[RJepa, Normalizer],
    progress: Progress = silent,
) -> CandidatePool:
    """The frozen candidates of one split, with their energies under a world model.

    Raises:
        InvalidInputError: there are no rollouts of this split.
    """
    rollouts = open_rollouts(home, llm_tag, dataset).split(split)
    if not rollouts.problems:
        raise InvalidInputError(
            f"{dataset} has no {split} problems with rollouts of {llm_tag}", cure="use a dataset that has them"
        )
    return CandidatePool.from_rollouts(rollouts, energies_of(world_model, rollouts.latents, progress))


def calibrate_pair(home: Home, llm_tag: str, dataset: str, progress: Progress = silent) -> StageReport:
    """Fit on the validation rollouts, and write."""
    world_model = open_world_model(home, llm_tag, dataset)
    pool = open_pool(home, llm_tag, dataset, "validation", world_model, progress)
    calibration = calibrate(pool)
    path = calibration_file(home, llm_tag, dataset)
    calibration.save(path)
    metadata: dict[str, int | float | str] = {"problems": len(pool), "selection": calibration.selection}
    for effect in calibration.attribution:
        metadata |= {f"weight_{effect.symbol}": effect.weight, f"share_{effect.symbol}": effect.share}
    return StageReport(sha256_file(path), metadata)


def benchmark_pair(home: Home, llm_tag: str, dataset: str, progress: Progress = silent) -> Benchmark:
    """Judge every method on the test rollouts, and write JSON, HTML and PNG."""
    calibration = ScoreCalibration.load(calibration_file(home, llm_tag, dataset))
    world_model = open_world_model(home, llm_tag, dataset)
    frozen = open_frozen(home, llm_tag, dataset)
    rivals: tuple[RivalFit, ...] = ()
    if "validation" in frozen.rollouts:
        untrained = (world_model[0].config, calibration.energy.terms[0].feature)
        frozen = with_rivals(frozen, home, llm_tag, dataset, world_model[1], untrained)
        rivals = fit_rivals(frozen.pool("validation", None))
    result = evaluate(frozen.pool("test", world_model, progress), calibration, rivals=rivals)
    folder = home.reports(llm_tag, dataset)
    write_json(folder / INPUTS_FILE, judged_files(home, llm_tag, dataset))
    files = write_report(folder, result, title=f"{llm_tag} on {dataset}")
    report = StageReport(sha256_file(files.json), report_numbers(result) | {"html": str(files.html)})
    return Benchmark(report, result.leaderboard.to_markdown(), gallery_markdown(result.gallery), files.image_bytes)


def reported_files(home: Home, llm_tag: str, dataset: str) -> dict[str, str]:
    """Hex SHA-256 of the files that the last benchmark judged, as `judged_files`."""
    return read_json(home.reports(llm_tag, dataset) / INPUTS_FILE)


def report_numbers(result: EvaluationResult) -> dict[str, int | float | str]:
    """The figures of a report that are worth following over time."""
    board = result.leaderboard
    metadata: dict[str, int | float | str] = {"problems": result.problems, "mixed_problems": result.mixed_problems}
    metadata |= {f"accuracy_{row.method}": row.accuracy for row in board.domain(ALL) if row.method in METHOD}
    alone = board.row("rjepa")
    figures = {"within_auroc_rjepa": alone.within_auroc, "first_error_auroc": alone.first_error_auroc}
    figures |= {"first_error_f1": result.first_error[0].f1, "ece_debiased": result.probability.ece_debiased}
    metadata |= {name: value for name, value in figures.items() if value is not None}
    for domain in board.domains:
        served = board.row(served_method(result), domain)
        values = {"accuracy": served.accuracy, "gap_closed": served.gap_closed, "within_auroc": served.within_auroc}
        metadata |= {f"rerank_{name}_{domain}": value for name, value in values.items() if value is not None}
    metadata |= {"ece": result.probability.ece, "num_candidates": result.num_candidates}
    return {name: float(value) if isinstance(value, np.floating) else value for name, value in metadata.items()}
