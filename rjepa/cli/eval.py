"""`rjepa eval`: the leaderboard of what is released, on the frozen candidates of a dataset."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rjepa.evaluation.pool import CandidatePool
    from rjepa.evaluation.results import EvaluationResult
    from rjepa.home import Home
    from rjepa.progress import Progress
    from rjepa.releases.bundle import Manifest

_CANDIDATES = 8
"""Sampled for a problem where a dataset has no rollouts yet: what the pipeline's own rollouts have."""


def register(app: typer.Typer) -> None:
    """Mount `rjepa eval`, a verb of its own and a noun with `compare`."""
    from rjepa.cli.compare import compare

    noun = typer.Typer(invoke_without_command=True)
    noun.callback()(evaluate_release)
    noun.command("compare")(compare)
    app.add_typer(noun, name="eval")


def evaluate_release(
    context: typer.Context,
    llm: Annotated[str | None, typer.Option(help="LLM tag [default: RJEPA_LLM or tiny-a].")] = None,
    mode: Annotated[str, typer.Option(help="off: the student's greedy chain; rerank: what R-JEPA chooses.")] = "rerank",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first test problems.")] = None,
    data: Annotated[str | None, typer.Option(help="Dataset; the one the release was trained on if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge every way of choosing an answer from the same candidates, with the released R-JEPA.

    A dataset without rollouts, such as one that was just imported, gets fresh ones first; they are frozen for later.

    Example: rjepa eval --llm tiny-a --mode rerank --limit 100 --json
    """
    if context.invoked_subcommand is not None:
        return
    from rjepa.answer import check_mode
    from rjepa.home import Home
    from rjepa.releases.bundle import verify
    from rjepa.releases.pointer import require_current
    from rjepa.settings import load_settings

    check_mode(mode)
    settings = load_settings()
    home, tag = Home(settings.home), llm or settings.llm
    manifest = verify(home, tag, require_current(home, tag))
    dataset = data or manifest.dataset
    if settings.threads:
        import torch

        torch.set_num_threads(settings.threads)
    result = _measure(home, manifest, dataset, limit)
    method = _method(mode, result)
    if as_json:
        typer.echo(json.dumps(_summary(manifest, dataset, mode, method, result), indent=2, ensure_ascii=False))
        return
    for domain in result.leaderboard.domains:
        typer.echo(f"{domain}\n{result.leaderboard.to_text(domain)}\n")
    row = result.leaderboard.row(method)
    typer.echo(
        f"mode {mode} ({row.label}): {row.accuracy:.1%} of {result.problems} test problems of {dataset} "
        f"[{row.ci_low:.1%}, {row.ci_high:.1%}], {tag}, release {manifest.release_id}"
    )


def _measure(home: "Home", manifest: "Manifest", dataset: str, limit: int | None) -> "EvaluationResult":
    from rjepa.cli.bars import progress_bar
    from rjepa.evaluation.evaluating import evaluate
    from rjepa.inference.calibration import ScoreCalibration
    from rjepa.releases.bundle import CALIBRATION, release_folder

    with progress_bar("sample") as progress:
        _ensure_rollouts(home, manifest, dataset, progress)
    with progress_bar("score") as progress:
        pool = _open_pool(home, manifest, dataset, progress)
    calibration = ScoreCalibration.load(release_folder(home, manifest.llm_tag, manifest.release_id) / CALIBRATION)
    return evaluate(pool if limit is None else pool.select(list(range(min(limit, len(pool))))), calibration)


def _ensure_rollouts(home: "Home", manifest: "Manifest", dataset: str, progress: "Progress") -> None:
    """Sample and freeze candidates of the test problems unless that was done before."""
    from rjepa.datasets.building import build_problems
    from rjepa.datasets.reading import load_problems
    from rjepa.datasets.recipe import load_recipe
    from rjepa.errors import InvalidInputError, NotFoundError
    from rjepa.latents.launching import run_where_it_lives
    from rjepa.latents.rollouts import open_rollouts
    from rjepa.latents.worker import PairTask
    from rjepa.releases.bundle import check_student

    try:
        open_rollouts(home, manifest.llm_tag, dataset, fingerprint=manifest.student_fingerprint)
        return
    except NotFoundError:
        build_problems(home, load_recipe(home, dataset), progress)
    if not load_problems(home, dataset, "test", limit=1):
        raise InvalidInputError(
            f"{dataset} has no test problems", cure="import it again under another name with --split test"
        )
    from rjepa.students.catalog import load_record
    from rjepa.students.resolving import resolve_student

    resolved = resolve_student(home, load_record(home, manifest.llm_tag), progress)
    check_student(manifest, resolved.fingerprint)
    task = PairTask("rollouts", manifest.llm_tag, dataset, num_candidates=_CANDIDATES, seed=0, splits=("test",))
    run_where_it_lives(home, task, progress)


def _open_pool(home: "Home", manifest: "Manifest", dataset: str, progress: "Progress") -> "CandidatePool":
    from rjepa.evaluation.stage import open_pool
    from rjepa.jepa.checkpoint import load_model
    from rjepa.latents.normalizer import load_normalizer
    from rjepa.releases.bundle import MODEL_FOLDER, NORMALIZER, release_folder

    folder = release_folder(home, manifest.llm_tag, manifest.release_id)
    world_model = load_model(folder / MODEL_FOLDER), load_normalizer(folder / NORMALIZER)
    return open_pool(home, manifest.llm_tag, dataset, "test", world_model, progress)


def _method(mode: str, result: "EvaluationResult") -> str:
    """The leaderboard's key of what a mode hands out."""
    from rjepa.evaluation.stage import served_method

    return "greedy" if mode == "off" else served_method(result)


def _summary(manifest: "Manifest", dataset: str, mode: str, method: str, result: "EvaluationResult") -> dict[str, Any]:
    row = result.leaderboard.row(method)
    return {
        "llm": manifest.llm_tag,
        "release": manifest.release_id,
        "dataset": dataset,
        "mode": mode,
        "method": method,
        "problems": result.problems,
        "num_candidates": result.num_candidates,
        "accuracy": row.accuracy,
        "ci_low": row.ci_low,
        "ci_high": row.ci_high,
        "tokens": row.tokens,
        "leaderboard": result.leaderboard.to_rows(),
        "probability": result.probability.model_dump(mode="json"),
    }
