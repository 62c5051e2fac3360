"""`rjepa feedback forget`: delete an interaction and, with --retrain, make the release that never saw it."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rjepa.home import Home
    from rjepa.living.forgetting import Seen, Trace


def register(app: typer.Typer) -> None:
    """Join the group `rjepa feedback`, which the library mounts first (entry points come in order of their names)."""
    for group in app.registered_groups:
        if group.name == "feedback" and group.typer_instance is not None:
            group.typer_instance.command("forget")(forget)
            return
    noun = typer.Typer(help="What users gave back: forget.", no_args_is_help=True)
    noun.callback()(lambda: None)
    noun.command("forget")(forget)
    app.add_typer(noun, name="feedback")


def forget(
    interaction_id: Annotated[str, typer.Argument(help="Of the answer: chatcmpl-..., resp_...")],
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Make the release that never saw it, from the last clean one on.")
    ] = False,
    recipe: Annotated[str, typer.Option(help="Training run that goes on from a release.")] = "nightly",
) -> None:
    """Delete what is kept of an answer, say what has seen it and, with --retrain, replace what is served.

    Example: rjepa feedback forget chatcmpl-0123 --retrain
    """
    from rjepa.database import open_database
    from rjepa.errors import NotFoundError
    from rjepa.feedback.interactions import delete_as, find
    from rjepa.feedback.tables import INTERACTIONS
    from rjepa.living.forgetting import trace
    from rjepa_assets.cli.materialising import open_home

    home = open_home()
    with open_database(home) as database:
        if find(database, interaction_id) is None:
            raise NotFoundError(f"{interaction_id} was never kept", cure="rjepa feedback list names what is")
        delete_as(database, "operator", INTERACTIONS.c.interaction_id == interaction_id)
    found = trace(home, interaction_id)
    _tell(found)
    serving = [seen for seen in found.by_llm if seen.serves_it]
    if not serving:
        typer.echo("Nothing that is served has learnt from it.")
        return
    if not retrain:
        typer.echo(f"To replace what has: rjepa feedback forget {interaction_id} --retrain")
        return
    for seen in serving:
        _replace(home, seen, found, recipe)


def _replace(home: "Home", seen: "Seen", found: "Trace", recipe: str) -> None:
    """The night that forgets, and what differs afterwards."""
    from rjepa.datasets.reading import load_manifest
    from rjepa.living.forgetting import decided
    from rjepa.releases.lineage import learnt_problems, went_on_from
    from rjepa_assets.cli.materialising import with_instance
    from rjepa_assets.launching import NightChoices
    from rjepa_assets.nights import run_night

    choices = NightChoices(recipe=recipe)
    with with_instance(home) as (instance, stream):
        night = run_night(home, instance, seen.llm_tag, stream, trigger="forget", choices=choices)
    typer.echo(f"\n{seen.llm_tag}: {night.outcome}: {night.text}")
    if night.release is None or night.dataset is None:
        return
    clean = learnt_problems(home, seen.llm_tag, night.release).isdisjoint(found.problems)
    counts = load_manifest(home, night.dataset)["counts"]
    typer.echo(f"  before: release {seen.served}, which has learnt from it")
    typer.echo(
        f"  after:  release {night.release} of {night.dataset} ({counts['problems']} problems), went on from "
        f"{went_on_from(home, seen.llm_tag, night.release)}, has {'never seen it' if clean else 'SEEN IT'}"
    )
    move = decided(home, seen.llm_tag, night.release)
    for finding in move.decision.findings if move is not None and move.decision is not None else ():
        typer.echo(
            f"  {finding.describe()}; right only after: {finding.only_challenger}, only before: {finding.only_current}"
        )


def _tell(found: "Trace") -> None:
    typer.echo(f"{found.interaction_id} is deleted.")
    typer.echo(f"  versions that hold it: {', '.join(found.versions) or 'none'}")
    for seen in found.by_llm:
        served = "which is served" if seen.serves_it else "not served"
        releases = f"{', '.join(seen.releases)} ({served})" if seen.releases else "none"
        typer.echo(f"  releases of {seen.llm_tag} that have learnt from it: {releases}")
        if seen.serves_it:
            typer.echo(f"  the last one that never saw it: {seen.clean or 'none'}")
