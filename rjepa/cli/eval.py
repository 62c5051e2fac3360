"""`rjepa eval`: the leaderboard of a trained R-JEPA, on the frozen candidates of any dataset."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rjepa.cli.models import CURRENT, is_release

if TYPE_CHECKING:
    from rjepa.cli.models import CalibratedModel
    from rjepa.evaluation.pool import CandidatePool
    from rjepa.evaluation.results import EvaluationResult
    from rjepa.home import Home
    from rjepa.latents.rollouts import Rollouts
    from rjepa.progress import Progress

_FROZEN_MODES = ("off", "rerank")
"""Answered from what was frozen, as long as no option asks for anything else."""

_CANDIDATES = 8
"""Sampled for a problem where a dataset has no rollouts yet: what the pipeline's own rollouts have."""


def register(app: typer.Typer) -> None:
    """Mount `rjepa eval`, a verb of its own and a noun with `compare`."""
    from rjepa.cli.compare import compare

    noun = typer.Typer(invoke_without_command=True)
    noun.callback()(evaluate_model)
    noun.command("compare")(compare)
    app.add_typer(noun, name="eval")


def evaluate_model(
    context: typer.Context,
    llm: Annotated[str | None, typer.Option(help="LLM tag [default: RJEPA_LLM or tiny-a].")] = None,
    mode: Annotated[
        str,
        typer.Option(help="off and rerank are judged on frozen candidates, other modes write their own."),
    ] = "rerank",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first test problems.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset; the one R-JEPA was trained on if left out.")] = None,
    model: Annotated[
        str,
        typer.Option(help="Which R-JEPA: `current`, a release id, `checkpoint`, or a variant: RECIPE, RECIPE-SEED."),
    ] = CURRENT,
    trained_on: Annotated[str, typer.Option(help="Dataset of the checkpoint or variant that is meant.")] = "v1.0.0",
    candidates: Annotated[
        int | None, typer.Option(min=1, help="Candidates a problem, where none are frozen yet [default: 8].")
    ] = None,
    show_all: Annotated[
        bool, typer.Option("--all", help="Every method in every domain, and accuracy by tokens.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="NAME=VALUE of the mode, such as chains=4; once for each."),
    ] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Tokens that the mode may generate for a problem.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds that a mode is tried with.")] = 1,
    replay: Annotated[
        bool, typer.Option("--replay", help="Replay policies that only choose when to stop on the frozen candidates.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge every way of choosing an answer from the same candidates, with the released R-JEPA or another one.

    A dataset without rollouts, such as one that was just imported, gets fresh ones first; they are frozen for later.

    Example: rjepa eval --llm tiny-a --mode rerank --limit 100 --json
    """
    if context.invoked_subcommand is not None:
        return
    from rjepa.cli.models import open_model
    from rjepa.cli.trial import read_options
    from rjepa.evaluation.summary import cost_table, domain_table, short_table, warn_if_few
    from rjepa.home import Home, check_tag
    from rjepa.reasoning.modes import find_mode
    from rjepa.settings import load_settings
    from rjepa.text_tables import render

    find_mode(mode)
    if replay and (option or budget or seeds > 1):
        raise typer.BadParameter("--replay takes no --option, --budget or --seeds: nothing is generated")
    if seeds > 1 and not (budget or option) and mode in _FROZEN_MODES:
        raise typer.BadParameter(f"--seeds does nothing for mode {mode}: its candidates are frozen")
    settings = load_settings()
    home, tag = Home(settings.home), check_tag(llm or settings.llm)
    judged = open_model(home, tag, trained_on, model)
    dataset = dataset or judged.dataset
    if settings.threads:
        import torch

        torch.set_num_threads(settings.threads)
    if replay or budget or option or mode not in _FROZEN_MODES:
        wanted = None if replay else (mode, read_options(option or [], budget))
        _try(home, tag, judged, dataset, limit, candidates, wanted, seeds, as_json=as_json, everything=show_all)
        return
    result = _measure(home, tag, judged, dataset, limit, candidates)
    method = _method(mode)
    if warning := warn_if_few(result.problems, dataset):
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        about = {
            "llm": tag,
            "model": judged.name,
            "release": judged.name if is_release(judged.name) else None,
            "trained_on": judged.dataset,
            "dataset": dataset,
            "mode": mode,
        }
        typer.echo(json.dumps(about | _summary(method, result), indent=2, ensure_ascii=False))
        return
    typer.echo(f"Accuracy in % with 95 % intervals, and tokens generated a problem (K = {result.num_candidates}):\n")
    typer.echo(render(short_table(result.leaderboard)))
    if show_all:
        for domain in result.leaderboard.domains:
            typer.echo(f"\n{domain}\n{render(domain_table(result.leaderboard, domain))}")
        typer.echo(f"\nAccuracy in % by the number of candidates, and so by tokens:\n{render(cost_table(result))}")
    typer.echo("")
    row = result.leaderboard.row(method)
    typer.echo(
        f"mode {mode} ({row.label}): {row.accuracy:.1%} of {result.problems} test problems of {dataset} "
        f"[{row.ci_low:.1%}, {row.ci_high:.1%}], {tag}, "
        f"{'release ' if is_release(judged.name) else ''}{judged.name}, trained on {judged.dataset}"
    )
    if result.unfamiliar_problems:
        typer.echo(
            f"{result.unfamiliar_problems} of these problems are of a kind that R-JEPA does not know: served without it"
        )


def _measure(
    home: "Home", tag: str, model: "CalibratedModel", dataset: str, limit: int | None, candidates: int | None
) -> "EvaluationResult":
    """Judge a model on the test candidates of a dataset, and keep the evaluation's record."""
    from rjepa.evaluation.evaluating import evaluate
    from rjepa.evaluation.records import make_record, write_record
    from rjepa.evaluation.stage import name_candidates

    rollouts, pool = _frozen(home, tag, model, dataset, limit, candidates)
    result = evaluate(pool, model.calibration)
    if model.content is not None:
        named = name_candidates(rollouts, pool, dataset)
        write_record(home, make_record(model.content, named, pool, model.calibration))
    return result


def _try(
    home: "Home",
    tag: str,
    model: "CalibratedModel",
    dataset: str,
    limit: int | None,
    candidates: int | None,
    wanted: "tuple[str, dict[str, Any]] | None",
    seeds: int,
    *,
    as_json: bool,
    everything: bool,
) -> None:
    """Try a mode, with its options, or replay policies for None; what comes of it goes to stdout."""
    from rjepa.cli.trial import replay_policies, show, try_mode
    from rjepa.errors import InvalidInputError
    from rjepa.releases.pointer import require_current

    if wanted is not None and model.name != require_current(home, tag):
        raise InvalidInputError(
            f"mode {wanted[0]} is answered by the current release, and {model.name} is another R-JEPA",
            cure="leave --model out, or replay policies on frozen candidates with --replay",
        )
    _, pool = _frozen(home, tag, model, dataset, limit, candidates)
    pool = pool.judged()
    if wanted is None:
        rows = replay_policies(pool, model)
    else:
        rows = try_mode(home, tag, model, pool, dataset, *wanted, seeds)
    about = {"llm": tag, "model": model.name, "dataset": dataset, "mode": None if wanted is None else wanted[0]}
    show(rows, len(pool), about, as_json, everything)


def _frozen(
    home: "Home", tag: str, model: "CalibratedModel", dataset: str, limit: int | None, candidates: int | None
) -> "tuple[Rollouts, CandidatePool]":
    """The frozen test candidates of the first problems under a model, sampled now where there are none."""
    from rjepa.cli.bars import progress_bar
    from rjepa.evaluation.frozen import energies_of
    from rjepa.evaluation.pool import CandidatePool
    from rjepa.evaluation.stage import open_split

    with progress_bar("sample") as progress:
        _ensure_rollouts(home, tag, model, dataset, candidates, progress)
    with progress_bar("score") as progress:
        rollouts = open_split(home, tag, dataset, "test")
        if limit is not None:
            rollouts = rollouts.select(range(min(limit, len(rollouts.problems))))
        pool = CandidatePool.from_rollouts(rollouts, energies_of(model.world_model, rollouts.latents, progress))
    return rollouts, pool


def _ensure_rollouts(
    home: "Home", tag: str, model: "CalibratedModel", dataset: str, candidates: int | None, progress: "Progress"
) -> None:
    """Sample and freeze candidates of the test problems unless that was done before."""
    from rjepa.datasets.building import build_problems
    from rjepa.datasets.reading import load_problems
    from rjepa.datasets.recipe import load_recipe
    from rjepa.errors import InvalidInputError, NotFoundError
    from rjepa.latents.launching import run_where_it_lives
    from rjepa.latents.rollouts import open_rollouts
    from rjepa.latents.worker import StudentTask

    try:
        frozen = open_rollouts(home, tag, dataset, fingerprint=model.student_fingerprint).num_candidates
        if candidates not in (None, frozen):
            raise InvalidInputError(
                f"{frozen} candidates a problem of {dataset} are frozen for {tag}, not {candidates}",
                cure="leave --candidates out, or import the problems under another name",
            )
        return
    except NotFoundError:
        build_problems(home, load_recipe(home, dataset), progress)
    if not load_problems(home, dataset, "test", limit=1):
        raise InvalidInputError(
            f"{dataset} has no test problems", cure="import it again under another name with --split test"
        )
    from rjepa.students.catalog import load_record
    from rjepa.students.resolving import check_student, resolve_student

    check_student(model.name, model.student_fingerprint, resolve_student(home, load_record(home, tag), progress))
    task = StudentTask("rollouts", tag, dataset, num_candidates=candidates or _CANDIDATES, seed=0, splits=("test",))
    run_where_it_lives(home, task, progress)


def _method(mode: str) -> str:
    """The leaderboard's key of what a mode answers."""
    from rjepa.evaluation.reading import SERVED_METHOD

    return "greedy" if mode == "off" else SERVED_METHOD


def _summary(method: str, result: "EvaluationResult") -> dict[str, Any]:
    row = result.leaderboard.row(method)
    return {
        "method": method,
        "problems": result.problems,
        "unfamiliar_problems": result.unfamiliar_problems,
        "num_candidates": result.num_candidates,
        "accuracy": row.accuracy,
        "ci_low": row.ci_low,
        "ci_high": row.ci_high,
        "tokens": row.tokens,
        "leaderboard": result.leaderboard.to_rows(),
        "curve": [point.model_dump(mode="json") for point in result.curve],
        "probability": result.probability.model_dump(mode="json"),
    }
