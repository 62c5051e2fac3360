"""`rjepa llm migrate`: an R-JEPA that was made with one LLM, for another one; the datasets stay as they are."""

from typing import TYPE_CHECKING, Annotated

import typer

from rjepa_assets.cli.decoder_options import GuidanceOption, guidance_recipe_asked_for

if TYPE_CHECKING:
    from rjepa.evaluation.migration import Worth
    from rjepa.home import Home


def migrate(
    target: Annotated[str, typer.Option("--to", help="LLM that is to have it: rjepa llm add registers one.")],
    source: Annotated[
        str, typer.Option("--from", help="LLM whose R-JEPA is there [default: the only other one with one].")
    ] = "",
    strategy: Annotated[
        str,
        typer.Option(
            help="calibration: fit an adapter in front of it, in minutes; transfer: grow its weights and train them on "
            "part of the chains; retrain: train one from nothing."
        ),
    ] = "calibration",
    dataset: Annotated[str, typer.Option(help="Dataset version that both LLMs have read or will read.")] = "v1.0.0",
    share: Annotated[
        float | None,
        typer.Option(
            help="Part of the training problems that is learnt from, above 0 and at most 1 [default: 0.05 for "
            "calibration, 0.2 for transfer; retrain takes all]."
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="Training run of configs/rjepa/ [default: that of the source's R-JEPA for retrain; transfer]."
        ),
    ] = "",
    decoders: Annotated[
        bool, typer.Option("--decoders", help="Train what modes nudge and plan need for the LLM, too.")
    ] = False,
    guidance: GuidanceOption = "",
    release: Annotated[
        bool, typer.Option("--release/--no-release", help="Release it, and serve it if the gate agrees.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Give an LLM the R-JEPA of another, judge it on the LLM's own candidates, release it. No dataset is made again.

    Example: rjepa llm migrate --from tiny-a --to tiny-b --strategy calibration
    """
    from rjepa.cli.common import print_json
    from rjepa_assets.cli.materialising import migrate_llm, open_home
    from rjepa_assets.cli.summary import print_served

    home = open_home()
    guidance_recipe = guidance_recipe_asked_for(decoders, guidance)
    source = migrate_llm(
        home,
        dataset,
        source,
        target,
        strategy,
        share=share,
        recipe=recipe,
        guidance_recipe=guidance_recipe,
        release=release,
    )
    rows = _rows(home, source, target, dataset)
    if as_json:
        print_json({"strategy": strategy, **{moment: row.model_dump(mode="json") for moment, row in rows.items()}})
        return
    _print(rows, source, dataset)
    if release:
        print_served(home, target)
    else:
        typer.echo("\nNothing was released from it: that takes --release.")


def _rows(home: "Home", source: str, target: str, dataset: str) -> dict[str, "Worth"]:
    from rjepa.errors import NotFoundError
    from rjepa.evaluation.migration import read_worth

    rows = {}
    for moment, llm_tag in (("before", source), ("after", target)):
        try:
            rows[moment] = read_worth(home, llm_tag, dataset)
        except NotFoundError:
            if moment == "after":
                raise
            typer.echo(f"{llm_tag} was never judged on {dataset}: rjepa backfill --llm {llm_tag}", err=True)
    return rows


def _print(rows: dict[str, "Worth"], source: str, dataset: str) -> None:
    from rjepa.evaluation.migration import worth_table
    from rjepa.text_tables import render

    after = rows["after"]
    typer.echo(
        f"\nWhat R-JEPA adds to a plain vote of K = {after.num_candidates} candidates, on test problems of {dataset}:\n"
        "accuracy in %, the gain in points with its 95 % interval; each LLM on candidates of its own.\n"
    )
    typer.echo(render(worth_table(rows)))
