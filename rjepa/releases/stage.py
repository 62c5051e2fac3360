"""The release stage of one student: check that what was evaluated may be released, bundle it, ask the gate.

A blocking check of Dagster's gates only its own run, so that everything that must hold is checked here again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rjepa.adapters.describing import describe_origin
from rjepa.adapters.opening import WorldModelFiles, check_target, files_in_use, open_world_model
from rjepa.datasets.versions import version_key
from rjepa.errors import NotFoundError, RjepaError
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.reading import REPORT_FILE
from rjepa.evaluation.records import EvaluationRecord
from rjepa.evaluation.stage import (
    calibration_file,
    candidates_to_judge,
    checkpoint_content,
    checkpoint_sources,
    judge_on,
    judged_files,
    open_split,
    reported_files,
)
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.jepa.diagnostics import Diagnostics
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.jepa.stage import read_diagnostics_in
from rjepa.latents.rollouts import Rollouts
from rjepa.parts import CALIBRATION
from rjepa.progress import Progress, silent
from rjepa.releases.bundle import Diagnosis, Facts, Manifest, load_manifest, release_folder
from rjepa.releases.findings import Rule
from rjepa.releases.night import NightBasis
from rjepa.releases.plots import plot_decision
from rjepa.releases.publish import ReleaseReport, release
from rjepa.stages import Made, StageReport
from rjepa.students.stage import student_fingerprint


@dataclass(frozen=True)
class NightlyTest:
    """The problems that rule `nightly` judges on, and who draws the terms (`rjepa.living.evidence`)."""

    sealed_set: str
    rollouts: tuple[Rollouts, ...]
    draw: Callable[[EvaluationRecord, EvaluationRecord], NightBasis]


class NotEligibleError(RjepaError):
    """What would be released is not what was evaluated, or was not evaluated at all."""


def build_release(
    home: Home,
    llm_tag: str,
    dataset: str | None = None,
    *,
    run_id: str = "manual",
    rule: Rule = "replace",
    claim: str = ALL,
    night: NightlyTest | None = None,
    progress: Progress = silent,
) -> Made:
    """Bundle what was evaluated for `llm_tag` on `dataset` (None: the newest version) and serve it if the gate agrees.

    The report's data version names what is served afterwards; its metadata hold every number of the gate, beside a
    plot.

    Args:
        night: of rule `nightly`: both are judged on its sealed problems instead of the dataset's test problems.

    Raises:
        NotFoundError: nothing was evaluated for this student.
        NotEligibleError: files or candidates changed since they were evaluated.
        InvalidInputError: the student is not the one that was evaluated any more.
    """
    dataset = dataset or newest_evaluated(home, llm_tag)
    fingerprint = student_fingerprint(home, llm_tag)
    rollouts = open_split(home, llm_tag, dataset, "test", fingerprint=fingerprint)
    _check_unchanged(home, llm_tag, dataset, rollouts)
    content = checkpoint_content(home, llm_tag, dataset, fingerprint)
    judged_on = (rollouts,) if night is None else night.rollouts
    place = dataset if night is None else night.sealed_set
    challenger = judge_on(home, content, lambda: _open_checkpoint(home, llm_tag, dataset), judged_on, place, progress)
    files = files_in_use(home, llm_tag, dataset)
    carried = files.carried()
    if carried is not None:
        check_target(carried, fingerprint)
    facts = Facts(
        dataset_hash=content.dataset_hash,
        student_fingerprint=fingerprint,
        diagnosis=make_diagnosis(read_diagnostics_in(files.model)),
        reason=f"evaluated on {dataset}",
        run_id=run_id,
        carried=carried,
    )
    done = release(
        home,
        llm_tag,
        dataset,
        checkpoint_sources(home, llm_tag, dataset),
        facts,
        challenger=challenger,
        judge=lambda current: judge_release(home, current, judged_on, place, progress),
        rule=rule,
        claim=claim,
        draw=None if night is None else night.draw,
    )
    served = done.manifest if done.current is None else load_manifest(home, llm_tag, done.current)
    images = {"gate": plot_decision(done.decision)} if done.decision.findings else {}
    return Made(StageReport(served.content_hash, _metadata(done, challenger)), {}, images)


def judge_release(
    home: Home, manifest: Manifest, rollouts: Sequence[Rollouts], dataset: str, progress: Progress = silent
) -> EvaluationRecord:
    """The record of a release on test candidates: the one that is there, or else measured now and kept."""
    parts = partial(open_calibrated, home, manifest.llm_tag, manifest.release_id)
    return judge_on(home, manifest, parts, rollouts, dataset, progress)


def open_calibrated(home: Home, llm_tag: str, release_id: str) -> tuple[tuple[RJepa, Reader], ScoreCalibration]:
    """The world model of a release with its reader, and its calibration. Files are not verified.

    Raises:
        NotFoundError, InvalidInputError: as `release_folder`.
        CorruptError: a part cannot be read.
    """
    folder = release_folder(home, llm_tag, release_id)
    return WorldModelFiles.laid_out(folder).open("cpu"), ScoreCalibration.load(folder / CALIBRATION)


def newest_evaluated(home: Home, llm_tag: str) -> str:
    """The newest semantic dataset version with a benchmark report for this student.

    Raises:
        NotFoundError: there is none.
    """
    folder = home.reports(llm_tag, "v0.0.0").parent
    names = [path.parent.name for path in folder.glob(f"*/{REPORT_FILE}")]
    versions = {name: key for name in names if (key := version_key(name)) is not None}
    if not versions:
        raise NotFoundError(
            f"no dataset version was evaluated for {llm_tag}", cure=f"rjepa backfill --llm {llm_tag}, or name a dataset"
        )
    return max(versions, key=versions.__getitem__)


def make_diagnosis(found: Diagnostics) -> Diagnosis:
    """What a manifest keeps of the world model's diagnostics."""
    figures = {name: float(value) for name, value in found.metadata().items()}
    return Diagnosis(passed=diagnostics_pass(found), figures=figures)


def diagnostics_pass(found: Diagnostics) -> bool:
    """Skill over mean and copy, no collapse, no leak, every parameter moved and the target not pushed on.

    Skill over ridge is reported beside it.
    """
    learnt = min(found.skill_over_mean, found.skill_over_copy) > 0 and found.unmoved == 0
    return learnt and not (found.collapsed or found.leaks or found.target_has_gradient)


def _open_checkpoint(home: Home, llm_tag: str, dataset: str) -> tuple[tuple[RJepa, Reader], ScoreCalibration]:
    calibration = ScoreCalibration.load(calibration_file(home, llm_tag, dataset))
    return open_world_model(home, llm_tag, dataset), calibration


def _metadata(done: ReleaseReport, challenger: EvaluationRecord) -> dict[str, int | float | str]:
    metadata: dict[str, int | float | str] = {
        "release": done.manifest.release_id,
        "served": done.current or "nothing",
        "promoted": int(done.current == done.manifest.release_id),
        "rule": done.decision.rule,
        "reason": done.decision.reason,
        "decision": done.decision.text,
        "replaces": done.manifest.replaces or "nothing",
        "rjepa": describe_origin(done.manifest.carried),
        "dataset": challenger.trained_on,
        "judged_on": challenger.candidates.dataset,
        "accuracy": challenger.accuracy,
        "problems": challenger.num_problems,
        "candidates": challenger.candidates.sha256,
        "evaluation": challenger.sha256,
    }
    metadata |= {f"accuracy_{domain}": value for domain, value in challenger.accuracy_by_domain().items()}
    return metadata | {f"gate_{name}": value for name, value in done.decision.numbers().items()}


def _check_unchanged(home: Home, llm_tag: str, dataset: str, rollouts: Rollouts) -> None:
    judged = reported_files(home, llm_tag, dataset)
    now = judged_files(home, llm_tag, dataset, candidates_to_judge([rollouts], dataset))
    if changed := sorted(name for name in now if judged.get(name) != now[name]):
        raise NotEligibleError(
            f"the {', '.join(changed)} of {dataset}|{llm_tag} changed after the benchmark report was made",
            cure="materialise benchmark_report again, then release",
        )
