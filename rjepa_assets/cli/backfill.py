"""`rjepa backfill`: the same graph for another student or another dataset."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Mount the verb."""
    app.command("backfill")(backfill)


def backfill(
    llm: Annotated[str, typer.Option(help="Student: `rjepa llm list` names them.")],
    dataset: Annotated[str, typer.Option(help="Dataset version, or the name of an imported data set.")] = "v1.0.0",
    recipe: Annotated[str, typer.Option(help="Training run of R-JEPA: a file of configs/rjepa/.")] = "demo",
    redo: Annotated[str | None, typer.Option("--from", help="Make this asset and all after it again.")] = None,
) -> None:
    """Materialise what is missing for one student on one dataset; finished datasets do not move.

    Example: rjepa llm add tiny-b --model bundled && rjepa backfill --llm tiny-b
    """
    from rjepa_assets.cli.materialising import materialise, open_home
    from rjepa_assets.cli.summary import print_results

    home = open_home()
    materialise(home, dataset, llm, recipe, redo)
    print_results(home, llm, dataset)
