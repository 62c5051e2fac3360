"""`rjepa eval compare A B`: two R-JEPAs on the same frozen candidates."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rjepa.evaluation.ab import Duel


def compare(
    a: Annotated[str, typer.Argument(help="`current`, a release id, `checkpoint`, or a variant: RECIPE, RECIPE-SEED.")],
    b: Annotated[str, typer.Argument(help="The one it is compared with, named likewise.")],
    llm: Annotated[str | None, typer.Option(help="LLM tag [default: RJEPA_LLM or tiny-a].")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Dataset whose test candidates are used [default: A's own].")
    ] = None,
    trained_on: Annotated[
        str | None, typer.Option(help="Dataset of the checkpoints or variants [default: --dataset, or that of A].")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first test problems.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare what two R-JEPAs choose on the same candidates: paired difference, interval, McNemar, by domain.

    Example: rjepa eval compare full rank --dataset v1.0.0
    """
    from rjepa.cli.bars import progress_bar
    from rjepa.cli.common import open_home, print_json
    from rjepa.cli.models import open_model
    from rjepa.errors import InvalidInputError
    from rjepa.evaluation.ab import duel
    from rjepa.evaluation.frozen import energies_of, open_frozen
    from rjepa.evaluation.summary import warn_if_few
    from rjepa.home import check_tag
    from rjepa.settings import load_settings

    settings = load_settings()
    home, tag = open_home(), check_tag(llm or settings.llm)
    if settings.threads:
        import torch

        torch.set_num_threads(settings.threads)
    first = open_model(home, tag, trained_on or dataset or "v1.0.0", a)
    dataset = dataset or first.dataset
    models = [first, open_model(home, tag, trained_on or dataset, b)]
    frozen = open_frozen(home, tag, dataset)
    if "test" not in frozen.rollouts:
        raise InvalidInputError(
            f"{dataset} has no test candidates of {tag}",
            cure=f"sample them: rjepa eval --llm {tag} --dataset {dataset}",
        )
    rollouts, pool = frozen.rollouts["test"], frozen.pool("test", None)
    with progress_bar("score") as progress:
        energies = [energies_of(model.world_model, rollouts.latents, progress) for model in models]
    if limit is not None and limit < len(pool):
        pool = pool.select(list(range(limit)))
        energies = [found[: limit * pool.num_candidates] for found in energies]
    found = duel(
        pool,
        (energies[0], energies[1]),
        (models[0].calibration, models[1].calibration),
        (models[0].name, models[1].name),
        seed,
    )
    if warning := warn_if_few(found.problems, dataset):
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        print_json({"llm": tag, "dataset": dataset, **found.model_dump(mode="json")})
        return
    _show(found, tag, dataset)


def _show(found: "Duel", tag: str, dataset: str) -> None:
    from rjepa.evaluation.summary import duel_table
    from rjepa.text_tables import render

    typer.echo(f"{tag} on {dataset}: {found.problems} test problems, K = {found.num_candidates}")
    typer.echo(f"A = {found.a.name} ({found.a.selection}), B = {found.b.name} ({found.b.selection})\n")
    typer.echo(render(duel_table(found)))
    for test in found.energy:
        typer.echo(
            f"\nenergy alone, within-problem AUROC: {test.difference:+.3f} "
            f"[{test.ci_low:+.3f}, {test.ci_high:+.3f}], p {test.p_bootstrap:.4f}"
        )
    typer.echo(f"ECE of P(correct): A {found.a.ece:.3f}, B {found.b.ece:.3f}")
