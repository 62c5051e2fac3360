"""`rjepa report`: R-JEPA's variants over seeds and every baseline, held against the targets."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rjepa.evaluation.results import EvaluationResult

_STUDENTS = {"v1.0.0-large": "tiny-a", "gsm_symbolic-large": "tiny-gsm"}
"""What is reported on where nothing is named: each dataset with the bundled student that was trained for its text."""

_STUDENT = "tiny-a"
_RECIPES = ["full", "rank", "textbook"]


def register(app: typer.Typer) -> None:
    """Mount the verb."""
    app.command("report")(report)


def report(
    llm: Annotated[
        str | None,
        typer.Option(
            help="Student: `rjepa llm list` names them [default: tiny-a, and tiny-gsm on gsm_symbolic-large]."
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Dataset; repeat for more [default: v1.0.0-large and gsm_symbolic-large].")
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="Training run of configs/rjepa/, the main one first; repeat [default: full, rank, textbook]."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Training runs of each recipe (textbook: one).")] = 3,
    train_problems: Annotated[
        int, typer.Option(min=1, help="Training problems whose answers `rank` and the supervised baselines learn from.")
    ] = 2500,
    sizes: Annotated[str, typer.Option(help="File with runs at several sizes of training data, for a curve.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train what is missing at the full budget, judge it all on the same candidates, and write the reports.

    Every run is resumed where it was stopped. Nothing is released: that is `rjepa backfill --recipe full`.

    Example: rjepa report --dataset v1.0.0 --seeds 1
    """
    from pathlib import Path

    from rjepa.cli.common import print_json
    from rjepa.evaluation.summary import accuracy_table
    from rjepa.evaluation.variants import read_variants_report, variants_report_folder
    from rjepa.text_tables import render
    from rjepa_assets.cli.materialising import materialise_variants, open_home
    from rjepa_assets.cli.summary import relative

    home, found = open_home(), {}
    where = str(Path(sizes).expanduser().resolve()) if sizes else ""
    for name in dict.fromkeys(dataset or _STUDENTS):
        student = llm or _STUDENTS.get(name, _STUDENT)
        materialise_variants(home, name, student, recipe or _RECIPES, seeds, train_problems, where)
        found[name] = (student, read_variants_report(home, student, name))
    if as_json:
        print_json({"reports": {name: {"llm": student, **_summary(it)} for name, (student, it) in found.items()}})
        return
    for name, (student, result) in found.items():
        typer.echo(
            f"\n{student} on {name}: {result.problems} test problems, K = {result.num_candidates}, accuracy in % "
            "with 95 % intervals\n"
        )
        typer.echo(render(accuracy_table(result.leaderboard)))
        typer.echo("\nTargets (the main run's first seed):")
        for target in result.targets:
            value = "-" if target.value is None else f"{target.value:.3f}"
            against = "" if target.against is None else f"; {target.difference:+.3f} to {target.against}"
            typer.echo(
                f"  {'met    ' if target.met else 'not met'}  {target.name}, {target.figure} {value}, "
                f"wanted {target.wanted}{against}"
            )
        typer.echo("\nOver seeds:")
        for row in result.spreads:
            spread = "" if row.deviation is None else f" +- {row.deviation:.3f}"
            typer.echo(f"  {row.variant:<10} {row.figure:<24} {row.mean:.3f}{spread}  ({row.seeds} seeds)")
        typer.echo(f"\nThe whole report: {relative(variants_report_folder(home, student, name) / 'report.html')}")


def _summary(result: "EvaluationResult") -> dict[str, Any]:
    kept = {"problems", "num_candidates", "targets", "spreads", "seeds", "probability", "first_error"}
    return result.model_dump(mode="json", include=kept) | {"leaderboard": result.leaderboard.to_rows()}
