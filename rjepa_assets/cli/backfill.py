"""`rjepa backfill`: the same graph for another student or another dataset."""

from typing import Annotated

import typer

from rjepa_assets.cli.decoder_options import GuidanceOption, guidance_recipe_asked_for


def register(app: typer.Typer) -> None:
    """Mount the verb."""
    app.command("backfill")(backfill)


def backfill(
    llm: Annotated[str, typer.Option(help="Student: `rjepa llm list` names them.")],
    dataset: Annotated[str, typer.Option(help="Dataset version, or the name of an imported data set.")] = "v1.0.0",
    recipe: Annotated[str, typer.Option(help="Training run of R-JEPA: a file of configs/rjepa/.")] = "demo",
    decoders: Annotated[
        bool, typer.Option("--decoders", help="Train what modes nudge and plan need, too, and release it.")
    ] = False,
    guidance: GuidanceOption = "",
    release: Annotated[
        bool | None,
        typer.Option(
            "--release/--no-release",
            help="Release what was evaluated, and serve it if it is not worse [default: for versions vX.Y.Z only].",
        ),
    ] = None,
    redo: Annotated[str | None, typer.Option("--from", help="Make this asset and all after it again.")] = None,
    improve: Annotated[
        bool, typer.Option("--improve", help="Serve the release only if it is better, as the night does.")
    ] = False,
) -> None:
    """Materialise what is missing for one student on one dataset; finished datasets do not move.

    Example: rjepa llm add tiny-b --model bundled && rjepa backfill --llm tiny-b
    """
    from rjepa.datasets.versions import version_key
    from rjepa_assets.cli.materialising import materialise, open_home
    from rjepa_assets.cli.summary import print_results

    home = open_home()
    if release is None:
        release = version_key(dataset) is not None
    guidance_recipe = guidance_recipe_asked_for(decoders, guidance)
    materialise(
        home, dataset, llm, recipe, guidance_recipe=guidance_recipe, release=release, redo_from=redo, improve=improve
    )
    print_results(home, llm, dataset)
    if not release:
        typer.echo("\nNothing was released from it: that takes --release.")
