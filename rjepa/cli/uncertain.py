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
    by: Annotated[str, typer.Option(help="Whose doubt: current, a release id, checkpoint, or a variant.")] = "current",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the problems whose answers R-JEPA doubts most and whose candidates disagree most, for teachers or people.

    Uncertainty is the mean of two numbers from 0 to 1: the entropy of P(correct) of the answer handed out (1 where
    R-JEPA knows no such problems), and the entropy of the candidates' votes. It reads frozen candidates; nothing is
    sampled. Labels on test problems make them useless as test problems: mind the split.

    Example: rjepa uncertain --limit 20 --dataset v1.0.0 --split validation
    """
    from rjepa.cli.bars import progress_bar
    from rjepa.cli.common import checked_split, open_home, print_json
    from rjepa.cli.worlds import open_world
    from rjepa.evaluation.uncertain import most_uncertain
    from rjepa.home import check_tag
    from rjepa.settings import load_settings

    home, tag, wanted = open_home(), check_tag(llm or load_settings().llm), checked_split(split)
    world = open_world(home, tag, dataset or "v1.0.0", by)
    dataset = dataset or world.dataset
    with progress_bar("score") as progress:
        rows = most_uncertain(
            home,
            tag,
            dataset,
            world.world_model,
            world.calibration,
            limit=limit,
            split=wanted,
            progress=progress,
        )
    if as_json:
        print_json(
            {
                "llm": tag,
                "dataset": dataset,
                "by": world.name,
                "formula": "(H2(P(correct)) + H(votes) / log K) / 2",
                "problems": [row.model_dump(mode="json") for row in rows],
            }
        )
        return
    typer.echo("uncertainty  P(correct)  answers  split       domain      problem")
    for row in rows:
        text = " ".join(row.statement.split())
        typer.echo(
            f"{row.uncertainty:11.3f}  {_chance(row.p_correct):>10}  {row.answers:3} of {row.num_candidates:<2}"
            f" {row.split or '-':<11} {row.domain:<11} {row.problem_id}: {text[:60]}{'...' if len(text) > 60 else ''}"
        )


def _chance(p_correct: float | None) -> str:
    return "unknown" if p_correct is None else f"{p_correct:.2f}"
