"""`rjepa teacher`: check endpoints, let them write problems and chains, show what that cost."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rjepa.cli.bars import progress_bar
from rjepa.cli.common import open_home, print_json
from rjepa.errors import InvalidInputError

if TYPE_CHECKING:
    from rjepa.home import Home
    from rjepa.schemas import Problem

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Names = Annotated[list[str] | None, typer.Option("--teacher", "-t", help="A teacher's name; may be repeated.")]


def register(app: typer.Typer) -> None:
    """Add `rjepa teacher`."""
    group = typer.Typer(help="Teachers: OpenAI-compatible endpoints that write problems and chains.")
    group.command()(check)
    group.command()(generate)
    group.command()(budget)
    app.add_typer(group, name="teacher", no_args_is_help=True)


def check(teacher: _Names = None, as_json: _Json = False) -> None:
    """Ask every teacher for its list of models: costs nothing. Exit code 1 if one cannot be used.

    Example: rjepa teacher check
    """
    from rjepa.teacher import load_teachers
    from rjepa.teacher.checking import check_teachers

    teachers = load_teachers(open_home())
    chosen = teachers.choose(teacher) if teacher else list(teachers.by_name.values())
    found = check_teachers(chosen)
    if as_json:
        print_json(
            {
                "teachers": [one.row() for one in found],
                "budget_usd": teachers.budget_usd,
                "not_understood": teachers.not_understood,
            }
        )
    else:
        for one in found:
            typer.echo(f"{one.teacher.name:16s} {one.status:12s} {one.teacher.model} at {one.teacher.base_url}")
            for remark in one.remarks:
                typer.echo(f"{'':16s} {remark}")
        typer.echo(f"budget of a job: ${teachers.budget_usd:g}")
    for variable in teachers.not_understood:
        typer.echo(f"warning: {variable} is not a setting of a teacher", err=True)
    if any(one.status != "ok" for one in found):
        raise typer.Exit(1)


def generate(
    job: Annotated[str, typer.Argument(help="The job's name: run it again to go on after a kill.")],
    teacher: _Names = None,
    dataset: Annotated[str | None, typer.Option(help="Solve this dataset's problems (never its test split).")] = None,
    split: Annotated[str, typer.Option(help="Which split of the dataset: train or validation.")] = "train",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many of the dataset's problems.")] = None,
    domain: Annotated[list[str] | None, typer.Option(help="Make up problems of this domain; may be repeated.")] = None,
    difficulty: Annotated[str, typer.Option(help="easy, medium or hard.")] = "medium",
    problems: Annotated[int, typer.Option(min=1, help="New problems per domain and teacher.")] = 10,
    chains: Annotated[int, typer.Option(min=0, max=64, help="Distinct chains per problem and teacher.")] = 2,
    label: Annotated[bool, typer.Option("--label", help="File each problem under the syllabus.")] = False,
    judge: Annotated[bool, typer.Option("--judge", help="Another teacher's opinion of each chain.")] = False,
    max_usd: Annotated[float | None, typer.Option("--budget", min=0, help="USD; else the environment's.")] = None,
    as_json: _Json = False,
) -> None:
    """Let teachers make up problems, or solve a dataset's. What was paid for is never paid for again.

    Example: rjepa teacher generate first --teacher self --dataset smoke --limit 20
    """
    from rjepa.teacher import JobPlan, Wish, job_folder, load_teachers, run_job

    home = open_home()
    teachers = load_teachers(home)
    chosen = teachers.choose(teacher or [])
    given = _problems(home, dataset, split, limit)
    if not given and not domain:
        raise InvalidInputError("there is nothing to do", cure="use --dataset NAME, or --domain math --problems 10")
    if difficulty not in ("easy", "medium", "hard"):
        raise InvalidInputError(f"{difficulty!r} is no difficulty", cure="use easy, medium or hard")
    wishes = [Wish(domain=one, difficulty=difficulty, count=problems) for one in domain or []]
    plan = JobPlan(problems=wishes, chains_per_problem=chains, label=label, judge=judge)
    budget_usd = teachers.budget_usd if max_usd is None else max_usd
    with progress_bar(f"job {job}") as progress:
        result = run_job(home, job, chosen, plan, given, budget_usd=budget_usd, progress=progress)
    folder = job_folder(home, job)
    if as_json:
        stopped = "budget" if result.stopped else None
        print_json({"job": job, "folder": str(folder), "stopped": stopped, **result.figures()})
    else:
        typer.echo(f"{len(result.problems)} problems, {len(result.chains)} chains, not judged yet: {folder}")
        _print_failures(result.figures())
        typer.echo(_cost(result.spending, budget_usd))
    for error in result.refused.values():
        typer.echo(f"warning: {error}", err=True)
    if result.stopped is not None:
        raise result.stopped


def budget(
    job: Annotated[str | None, typer.Argument(help="One job; all, if left out.")] = None, as_json: _Json = False
) -> None:
    """What jobs have spent, in USD. Works beside a running job.

    Example: rjepa teacher budget first --json
    """
    from rjepa.teacher import job_names, job_spending
    from rjepa.teacher.pricing import NANO

    home = open_home()
    known = job_names(home)
    if job is not None and job not in known:
        raise InvalidInputError(f"there is no job {job!r}", cure=f"choose one of: {', '.join(known) or 'none yet'}")
    rows: list[dict[str, Any]] = []
    for name in [job] if job else known:
        spent, allowed = job_spending(home, name)
        rows.append(
            {
                "job": name,
                "usd": spent.spent / NANO,
                "usd_in_doubt": spent.doubtful / NANO,
                "budget_usd": allowed,
                "replies": spent.replies,
                "failed": spent.failed,
                "in_flight_or_lost": spent.in_flight,
                "above_reserve": spent.above_reserve,
                "by_teacher_usd": {who: nano / NANO for who, nano in sorted(spent.by_teacher.items())},
            }
        )
        if not as_json:
            typer.echo(f"{name}: {_cost(spent, allowed)}")
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo("no job yet")


def _problems(home: "Home", dataset: str | None, split: str, limit: int | None) -> "list[Problem]":
    """The dataset's problems, if one is named.

    Raises:
        InvalidInputError: the test split is asked for: what is measured on is never taught.
    """
    if dataset is None:
        return []
    if split not in ("train", "validation"):
        raise InvalidInputError(f"teachers do not solve the split {split!r}", cure="use --split train or validation")
    from rjepa.datasets.reading import load_problems

    return load_problems(home, dataset, split, limit=limit)  # type: ignore[arg-type]


def _cost(spent: Any, allowed: float | None) -> str:
    from rjepa.teacher.pricing import usd

    of = f" of ${allowed:g}" if allowed is not None else ""
    doubt = f", {usd(spent.doubtful)} of it in doubt" if spent.doubtful else ""
    above = f", {spent.above_reserve} calls cost more than their worst case" if spent.above_reserve else ""
    return f"{spent.replies} calls paid, {usd(spent.spent)}{of}{doubt}{above}"


def _print_failures(figures: dict[str, Any]) -> None:
    for name, times in figures.items():
        if name.startswith("failed_"):
            typer.echo(f"{times} times {name.removeprefix('failed_')}")
