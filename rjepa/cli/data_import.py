"""`rjepa data import`: a file of problems becomes a dataset."""

from pathlib import Path
from typing import Annotated

import typer

from rjepa.cli.common import checked_split, open_home, pairs, print_json

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def import_file(
    file: Annotated[Path, typer.Argument(help="JSON lines: statement, answer, and if you like domain, steps, ...")],
    name: Annotated[str, typer.Option("--name", help="The dataset's name: a-z, 0-9, '.', '_', '-'.")],
    split: Annotated[str | None, typer.Option(help="Put every problem in this split, e.g. test.")] = None,
    as_json: _Json = False,
) -> None:
    """Register a file of problems as a dataset. Either every line is good, or nothing is imported.

    Example: rjepa data import problems.jsonl --name homework --split test
    """
    from rjepa.datasets.recipe import imported_file
    from rjepa.datasets.registering import import_dataset
    from rjepa.problems.importing import read_problems

    home = open_home()
    recipe = import_dataset(home, file, name, checked_split(split))
    problems = [problem for problem, _ in read_problems(imported_file(home, name), name, recipe.created).pairs]
    by_split = {which: sum(problem.split == which for problem in problems) for which in ("train", "validation", "test")}
    if as_json:
        print_json({"dataset": name, "problems": len(problems), "splits": by_split, "warnings": recipe.warnings})
        return
    typer.echo(f"imported {len(problems)} problems as {name} ({pairs(by_split)})")
    typer.echo(f"next: rjepa backfill --llm tiny-a --dataset {name}")
    for warning in recipe.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if not by_split["test"]:
        typer.echo("warning: no test problems: to evaluate on this file, import it with --split test", err=True)
