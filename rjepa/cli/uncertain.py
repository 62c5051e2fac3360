"""`rjepa uncertain`: the problems most worth a label."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Mount the verb."""
    app.command("uncertain")(uncertain)


def uncertain(
    limit: Annotated[int, typer.Option(min=1, help="How many problems to list.")] = 100,
    llm: Annotated[str | None, typer.Option(help="LLM tag [default: RJEPA_LLM or tiny-a].")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset; the current release's own if left out.")] = None,
    split: Annotated[str | None, typer.Option(help="train, validation or test; all that have candidates.")] = None,
    model: Annotated[
        str, typer.Option(help="Whose doubt: current, a release id, checkpoint, or a variant.")
    ] = "current",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the problems whose answers R-JEPA doubts most and whose candidates disagree most, for teachers or people.

    Uncertainty is the mean of two numbers from 0 to 1: the entropy of P(correct) of the answer served (1 where
    R-JEPA knows no such problems), and the entropy of the candidates' votes. It reads frozen candidates; nothing is
    sampled. Labels on test problems make them useless as test problems: mind the split.

    Example: rjepa uncertain --limit 20 --dataset v1.0.0 --split validation
    """
    from rjepa.cli.bars import progress_bar
    from rjepa.cli.common import checked_split, open_home, print_json
    from rjepa.cli.models import open_model
    from rjepa.evaluation.summary import uncertain_table
    from rjepa.evaluation.uncertain import most_uncertain
    from rjepa.home import check_tag
    from rjepa.settings import load_settings
    from rjepa.text_tables import render

    home, tag, wanted = open_home(), check_tag(llm or load_settings().llm), checked_split(split)
    judge = open_model(home, tag, dataset or "v1.0.0", model)
    dataset = dataset or judge.dataset
    with progress_bar("score") as progress:
        rows = most_uncertain(
            home,
            tag,
            dataset,
            judge.world_model,
            judge.calibration,
            limit=limit,
            split=wanted,
            progress=progress,
        )
    if as_json:
        print_json(
            {
                "llm": tag,
                "dataset": dataset,
                "by": judge.name,
                "formula": "(H2(P(correct)) + H(votes) / log K) / 2",
                "problems": [row.model_dump(mode="json") for row in rows],
            }
        )
        return
    typer.echo(render(uncertain_table(rows)))
