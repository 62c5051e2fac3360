"""The release stage of one student: check that what was evaluated may be released, bundle it, ask the gate.

A blocking check of Dagster's gates only its own run, so that everything that must hold is checked here again.
"""

from rjepa.datasets.reading import load_manifest as load_dataset_manifest
from rjepa.datasets.versions import version_key
from rjepa.errors import CorruptError, NotFoundError, RjepaError
from rjepa.evaluation.evaluating import evaluate
from rjepa.evaluation.leaderboard import ALL
from rjepa.evaluation.reading import REPORT_FILE, read_report, served_method
from rjepa.evaluation.results import EvaluationResult
from rjepa.evaluation.stage import calibration_file, judged_files, open_pool, reported_files
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.jepa.checkpoint import load_model
from rjepa.jepa.diagnostics import Diagnostics
from rjepa.jepa.stage import model_folder, normalizer_file, read_diagnostics
from rjepa.latents.normalizer import load_normalizer
from rjepa.latents.rollouts import open_rollouts
from rjepa.releases.bundle import CALIBRATION, MODEL_FOLDER, NORMALIZER, Facts, Sources, load_manifest, release_folder
from rjepa.releases.gate import Figures
from rjepa.releases.pointer import current_release
from rjepa.releases.publish import release
from rjepa.stages import StageReport
from rjepa.students.stage import student_fingerprint


class NotEligibleError(RjepaError):
    """What would be released is not what was evaluated, or was not evaluated at all."""


def release_pair(home: Home, llm_tag: str, dataset: str | None = None, *, run_id: str = "manual") -> StageReport:
    """Bundle what was evaluated for `llm_tag` on `dataset` (None: the newest version) and serve it if the gate agrees.

    The report's data version names what is served afterwards.

    Raises:
        NotFoundError: nothing was evaluated for this student.
        NotEligibleError: files changed since they were evaluated.
        InvalidInputError: the student is not the one that was evaluated any more.
    """
    dataset = dataset or newest_evaluated(home, llm_tag)
    result = read_report(home, llm_tag, dataset)
    _check_unchanged(home, llm_tag, dataset)
    fingerprint = student_fingerprint(home, llm_tag)
    open_rollouts(home, llm_tag, dataset, fingerprint=fingerprint, verify=False)
    diagnostics = read_diagnostics(home, llm_tag, dataset)
    calibration = ScoreCalibration.load(calibration_file(home, llm_tag, dataset))
    figures = make_figures(dataset, result, diagnostics)
    sources = Sources(
        model_folder(home, llm_tag, dataset),
        normalizer_file(home, llm_tag, dataset),
        calibration_file(home, llm_tag, dataset),
    )
    facts = Facts(
        dataset_hash=load_dataset_manifest(home, dataset)["data_hash"],
        student_fingerprint=fingerprint,
        figures=figures,
        scoring=calibration.model_dump(mode="json"),
        reason=f"evaluated on {dataset}",
        run_id=run_id,
    )
    current = measure_current(home, llm_tag, dataset)
    done = release(home, llm_tag, dataset, sources, facts, current_figures=current)
    metadata: dict[str, int | float | str] = {
        "release": done.manifest.release_id,
        "served": done.current or "nothing",
        "promoted": int(done.current == done.manifest.release_id),
        "reason": done.decision.reason,
        "decision": done.decision.text,
        "replaces": done.manifest.replaces or "nothing",
        "dataset": dataset,
        "accuracy": figures.accuracy,
        "problems": figures.num_problems,
    }
    metadata |= {f"accuracy_{domain}": value for domain, value in figures.by_domain.items()}
    served = done.manifest if done.current is None else load_manifest(home, llm_tag, done.current)
    return StageReport(served.content_hash, metadata)


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


def make_figures(dataset: str, result: EvaluationResult, diagnostics: Diagnostics) -> Figures:
    """What the gate compares."""
    board, method = result.leaderboard, served_method(result)
    return Figures(
        dataset=dataset,
        num_problems=result.problems,
        accuracy=board.row(method).accuracy,
        by_method={row.method: row.accuracy for row in board.domain(ALL)},
        by_domain={name: board.row(method, name).accuracy for name in board.domains if name != ALL},
        diagnostics={name: float(value) for name, value in diagnostics.metadata().items()},
        diagnostics_passed=diagnostics_pass(diagnostics),
    )


def diagnostics_pass(found: Diagnostics) -> bool:
    """Skill over mean and copy, no collapse, no leak, every parameter moved and the target not pushed on.

    Skill over ridge is reported beside it.
    """
    learnt = min(found.skill_over_mean, found.skill_over_copy) > 0 and found.unmoved == 0
    return learnt and not (found.collapsed or found.leaks or found.target_has_gradient)


def measure_current(home: Home, llm_tag: str, dataset: str) -> Figures | None:
    """Figures of the served release on `dataset`; None where its manifest has them, or where it cannot be measured."""
    try:
        current = current_release(home, llm_tag)
        manifest = None if current is None else load_manifest(home, llm_tag, current)
    except CorruptError:
        return None
    if manifest is None or manifest.figures.dataset == dataset:
        return None
    if manifest.student_fingerprint != student_fingerprint(home, llm_tag):
        return None
    folder = release_folder(home, llm_tag, manifest.release_id)
    world_model = load_model(folder / MODEL_FOLDER), load_normalizer(folder / NORMALIZER)
    pool = open_pool(home, llm_tag, dataset, "test", world_model)
    result = evaluate(pool, ScoreCalibration.load(folder / CALIBRATION))
    method = served_method(result)
    return Figures(
        dataset=dataset,
        num_problems=result.problems,
        accuracy=result.leaderboard.row(method).accuracy,
        by_method={row.method: row.accuracy for row in result.leaderboard.domain(ALL)},
        diagnostics_passed=manifest.figures.diagnostics_passed,
    )


def _check_unchanged(home: Home, llm_tag: str, dataset: str) -> None:
    judged, now = reported_files(home, llm_tag, dataset), judged_files(home, llm_tag, dataset)
    if changed := sorted(name for name in now if judged.get(name) != now[name]):
        raise NotEligibleError(
            f"the {', '.join(changed)} of {dataset}|{llm_tag} changed after the benchmark report was made",
            cure="materialise benchmark_report again, then release",
        )
