"""The two stages of an evaluation for one student and one dataset: fit the calibration, judge every method.

Reads rollouts and models, calls, writes files. What is fitted and measured lives in `evaluating`, what a record holds
in `records`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from rjepa.adapters.opening import files_in_use, open_world_model
from rjepa.datasets.reading import load_manifest
from rjepa.errors import InvalidInputError
from rjepa.evaluation.baselines import METHOD, RivalFit
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.evaluating import calibrate, evaluate
from rjepa.evaluation.frozen import energies_of, open_frozen, with_rivals
from rjepa.evaluation.gallery import gallery_markdown
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.reading import SERVED_METHOD
from rjepa.evaluation.records import (
    CandidateSet,
    EvaluationRecord,
    describe_candidates,
    find_record,
    make_record,
    write_record,
)
from rjepa.evaluation.report import write_report
from rjepa.evaluation.results import EvaluationResult
from rjepa.evaluation.rivals import fit_rivals
from rjepa.evaluation.trials import mode_rows
from rjepa.files import read_json, sha256_file, write_json
from rjepa.home import Home, check_tag
from rjepa.inference.calibration import ScoreCalibration
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.latents.rollouts import Rollouts, open_rollouts
from rjepa.parts import Content, PartSource, adapter_part, describe_parts, lora_part, reranking_parts
from rjepa.progress import Progress, silent
from rjepa.schemas import Split
from rjepa.stages import StageReport
from rjepa.students import catalog
from rjepa.students.lora.files import lora_folder
from rjepa.verbalizer.made import decoder_parts

INPUTS_FILE: Final = "inputs.json"
"""Hashes of what was judged, candidates among it, so that a release can tell a report of something else."""


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


def judged_files(home: Home, llm_tag: str, dataset: str, candidates: CandidateSet) -> dict[str, str]:
    """Hex SHA-256 of all that a benchmark's figures follow from: the parts that a release holds, and the candidates."""
    # Whatever is added to speak and to guide leaves the choice among these candidates as it is.
    parts: dict[str, str] = {
        part.name: part.sha256 for part in describe_parts(_choosing_sources(home, llm_tag, dataset))
    }
    return {**parts, "candidates": candidates.sha256}


def checkpoint_sources(home: Home, llm_tag: str, dataset: str) -> tuple[PartSource, ...]:
    """The parts of the R-JEPA in use for a student and a dataset, where their assets wrote them; with an adapter where
    it is another student's, a verbaliser and guidance where these were made for it, and the student's LoRA where it has
    one.
    """
    choosing, decoders = _choosing_sources(home, llm_tag, dataset), decoder_parts(home, llm_tag, dataset)
    record = catalog.find_record(home, llm_tag)
    if record is None or record.lora is None:
        return (*choosing, *decoders)
    return (*choosing, *decoders, lora_part(lora_folder(home, record.lora.base, record.lora.name)))


def _choosing_sources(home: Home, llm_tag: str, dataset: str) -> tuple[PartSource, ...]:
    files = files_in_use(home, llm_tag, dataset)
    parts = reranking_parts(files.model, files.normalizer, calibration_file(home, llm_tag, dataset))
    return parts if files.adapter is None else (*parts, adapter_part(files.adapter))


def checkpoint_content(home: Home, llm_tag: str, dataset: str, student_fingerprint: str) -> Content:
    """What a release of a student and a dataset would hold now.

    Raises:
        NotFoundError: a part or the dataset is not made yet.
    """
    return Content(
        llm_tag=check_tag(llm_tag),
        dataset=dataset,
        dataset_hash=load_manifest(home, dataset)["data_hash"],
        student_fingerprint=student_fingerprint,
        parts=describe_parts(checkpoint_sources(home, llm_tag, dataset)),
    )


def open_split(home: Home, llm_tag: str, dataset: str, split: Split, *, fingerprint: str | None = None) -> Rollouts:
    """The frozen candidates of one split.

    Raises:
        InvalidInputError: there are no rollouts of this split, or another student than `fingerprint`'s made them.
    """
    rollouts = open_rollouts(home, llm_tag, dataset, fingerprint=fingerprint).split(split)
    if not rollouts.problems:
        raise InvalidInputError(
            f"{dataset} has no {split} problems with rollouts of {llm_tag}", cure="use a dataset that has them"
        )
    return rollouts


def open_pool(
    home: Home,
    llm_tag: str,
    dataset: str,
    split: Split,
    world_model: tuple[RJepa, Reader],
    progress: Progress = silent,
) -> CandidatePool:
    """The frozen candidates of one split, with their energies under a world model (errors as `open_split`)."""
    rollouts = open_split(home, llm_tag, dataset, split)
    return CandidatePool.from_rollouts(rollouts, energies_of(world_model, rollouts.latents, progress))


def name_candidates(rollouts: Rollouts, pool: CandidatePool, dataset: str, split: Split = "test") -> CandidateSet:
    """Name the judged candidates of a pool that was made from these rollouts, or from some of their problems."""
    return describe_candidates(
        pool,
        dataset=dataset,
        split=split,
        fingerprint=rollouts.fingerprint,
        seed=rollouts.seed,
        temperature=rollouts.temperature,
    )


def candidates_to_judge(rollouts: Sequence[Rollouts], dataset: str) -> CandidateSet:
    """Name the test candidates of rollouts without scoring them (arguments as of `judge_on`)."""
    unscored = _pool(rollouts, lambda part: [np.zeros(0)] * len(part.latents))
    return name_candidates(rollouts[0], unscored, dataset)


def judge_on(
    home: Home,
    content: Content,
    parts: Callable[[], tuple[tuple[RJepa, Reader], ScoreCalibration]],
    rollouts: Sequence[Rollouts],
    dataset: str,
    progress: Progress = silent,
) -> EvaluationRecord:
    """The record of an R-JEPA on test candidates: the one that is there, or else measured now and kept.

    Args:
        content: what is judged.
        parts: opens it; called only where there is no record yet.
        rollouts: of the test problems, made by one student in one way: those of one dataset, or of each dataset of a
            sealed set.
        dataset: name of that dataset or set.
    """
    candidates = candidates_to_judge(rollouts, dataset)
    known = find_record(home, content.llm_tag, content.sha256, candidates)
    if known is not None:
        return known
    world_model, calibration = parts()
    pool = _pool(rollouts, lambda part: energies_of(world_model, part.latents, progress))
    record = make_record(content, candidates, pool, calibration)
    write_record(home, record)
    return record


def _pool(rollouts: Sequence[Rollouts], energies: Callable[[Rollouts], Sequence[npt.ArrayLike]]) -> CandidatePool:
    """All of them as one pool."""
    pools = [CandidatePool.from_rollouts(part, energies(part)) for part in rollouts]
    return CandidatePool(
        problems=[problem for pool in pools for problem in pool.problems],
        candidates=[row for pool in pools for row in pool.candidates],
        greedy=[chain for pool in pools for chain in pool.greedy],
        energies=[row for pool in pools for row in pool.energies],
    )


def build_calibration(home: Home, llm_tag: str, dataset: str, progress: Progress = silent) -> StageReport:
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


def build_report(home: Home, llm_tag: str, dataset: str, progress: Progress = silent) -> Benchmark:
    """Judge every method on the test rollouts; write the report as JSON, HTML and PNG, and the evaluation's record."""
    calibration = ScoreCalibration.load(calibration_file(home, llm_tag, dataset))
    world_model = open_world_model(home, llm_tag, dataset)
    frozen = open_frozen(home, llm_tag, dataset)
    rivals: tuple[RivalFit, ...] = ()
    if "validation" in frozen.rollouts:
        untrained = (world_model[0].config, calibration.energy.terms[0].feature)
        frozen = with_rivals(frozen, home, llm_tag, dataset, world_model[1], untrained)
        rivals = fit_rivals(frozen.pool("validation", None))
    pool = frozen.pool("test", world_model, progress)
    result = evaluate(pool, calibration, rivals=rivals)
    rollouts = frozen.rollouts["test"]
    candidates = name_candidates(rollouts, pool, dataset)
    content = checkpoint_content(home, llm_tag, dataset, rollouts.fingerprint)
    write_record(home, make_record(content, candidates, pool, calibration))
    folder = home.reports(llm_tag, dataset)
    write_json(folder / INPUTS_FILE, judged_files(home, llm_tag, dataset, candidates))
    # Trials of modes are shown as they were recorded, even if the release has changed since; the report says on how
    # many problems each was tried.
    result = result.model_copy(update={"spending": (*result.spending, *mode_rows(folder))})
    files = write_report(folder, result, title=f"{llm_tag} on {dataset}")
    report = StageReport(sha256_file(files.json), report_numbers(result) | {"html": str(files.html)})
    return Benchmark(report, result.leaderboard.to_markdown(), gallery_markdown(result.gallery), files.image_bytes)


def reported_files(home: Home, llm_tag: str, dataset: str) -> dict[str, str]:
    """Hex SHA-256 of what the last benchmark judged, as `judged_files`."""
    return {str(name): str(value) for name, value in read_json(home.reports(llm_tag, dataset) / INPUTS_FILE).items()}


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
        served = board.row(SERVED_METHOD, domain)
        values = {"accuracy": served.accuracy, "gap_closed": served.gap_closed, "within_auroc": served.within_auroc}
        metadata |= {f"rerank_{name}_{domain}": value for name, value in values.items() if value is not None}
    metadata |= {"ece": result.probability.ece, "num_candidates": result.num_candidates}
    return {name: float(value) if isinstance(value, np.floating) else value for name, value in metadata.items()}
