"""`rjepa demo`: the whole path for one dataset and one bundled student, then what came of it."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Mount the verb."""
    app.command("demo")(demo)


def demo(
    dataset: Annotated[str, typer.Option(help="Dataset version: a file of configs/datasets/.")] = "v1.0.0",
    llm: Annotated[str, typer.Option(help="Student: `rjepa llm list` names them.")] = "tiny-a",
    recipe: Annotated[str, typer.Option(help="Training run of R-JEPA: a file of configs/rjepa/.")] = "demo",
    living: Annotated[
        bool, typer.Option("--living", help="Seven simulated nights of learning from users, in a home of their own.")
    ] = False,
    size: Annotated[str, typer.Option(help="Of the simulated nights: full or small.")] = "full",
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated nights.")] = 0,
) -> None:
    """Materialise the whole graph, from problems to a served release. Safe to stop and to run again.

    Example: rjepa demo
    """
    from rjepa_assets.cli.materialising import materialise, open_home

    if living:
        from rjepa_assets.cli.living import live

        live(open_home(), size, seed)
        return
    from rjepa_assets.cli.summary import print_next_steps, print_results

    home = open_home()
    materialise(home, dataset, llm, recipe)
    print_results(home, llm, dataset)
    print_next_steps(home, llm, dataset)
