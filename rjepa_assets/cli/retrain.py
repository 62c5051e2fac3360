"""`rjepa retrain`: one night now. What the job `living_night` runs, and what a person may."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rjepa.home import Home
    from rjepa.living.attempts import Trigger


def register(app: typer.Typer) -> None:
    """Mount the verb."""
    app.command("retrain")(retrain)


def retrain(
    llm: Annotated[
        list[str] | None, typer.Option(help="LLM. Repeat for more [default: all that serve a release].")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be learnt, from which release on, or which limit refuses.")
    ] = False,
    recipe: Annotated[
        str, typer.Option(help="Training run that goes on from a release: a file of configs/rjepa/.")
    ] = "nightly",
    sealed_problems: Annotated[
        int | None,
        typer.Option("--sealed-problems", min=1, help="Problems a domain, where the gate needs a fresh sealed set."),
    ] = None,
    claim: Annotated[str, typer.Option(help="Where it has to be better: all, or a domain.")] = "all",
    trigger: Annotated[str, typer.Option(help="What began it: person, schedule or sensor.", hidden=True)] = "person",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn from feedback now: a better release, or a recorded refusal. Killed, it goes on when it is run again.

    Example: rjepa retrain --llm tiny-a --dry-run
    """
    from rjepa.cli.common import print_json
    from rjepa.errors import InvalidInputError, NotFoundError
    from rjepa.home import check_tag
    from rjepa.living.attempts import TRIGGERS
    from rjepa_assets.cli.materialising import open_home
    from rjepa_assets.requests import served_llms

    home = open_home()
    llms = [check_tag(each) for each in llm] if llm else served_llms(home)
    if not llms:
        raise NotFoundError("no LLM serves a release, so that there is nothing to go on from", cure="rjepa demo")
    known = next((each for each in TRIGGERS if each == trigger), None)
    if known is None:
        raise InvalidInputError(f"{trigger!r} begins no night", cure=f"one of {', '.join(TRIGGERS)}")
    results = []
    for each in llms:
        found = _plan(home, each, known) if dry_run else _run(home, each, known, recipe, sealed_problems, claim)
        results.append({"llm": each, **found})
        if not as_json:
            typer.echo(f"{each}: " + " | ".join(f"{value}" for value in found.values() if value))
    if as_json:
        print_json(results)


def _plan(home: "Home", llm_tag: str, trigger: "Trigger") -> dict[str, str | None]:
    from rjepa.database import open_database
    from rjepa.living.health import last_automatic_rollback
    from rjepa.living.night import Plan, plan_night

    with open_database(home) as database:
        rolled_back = last_automatic_rollback(home, llm_tag)
        plan = plan_night(home, database, llm_tag, trigger=trigger, rolled_back_ms=rolled_back)
    return {"would": "learn" if isinstance(plan, Plan) else "not begin", "text": plan.describe()}


def _run(
    home: "Home", llm_tag: str, trigger: "Trigger", recipe: str, sealed_problems: int | None, claim: str
) -> dict[str, str | None]:
    from rjepa_assets.cli.materialising import with_instance
    from rjepa_assets.launching import NightChoices
    from rjepa_assets.nights import run_night

    choices = NightChoices(recipe=recipe, claim=claim)
    if sealed_problems is not None:
        choices = replace(choices, sealed_problems=sealed_problems)
    with with_instance(home) as (instance, stream):
        night = run_night(home, instance, llm_tag, stream, trigger=trigger, choices=choices)
    found: dict[str, str | None] = {"outcome": night.outcome, "dataset": night.dataset, "release": night.release}
    return {**found, "text": night.text, "differs": _differences(home, llm_tag, night.release)}


def _differences(home: "Home", llm_tag: str, release_id: str | None) -> str | None:
    """What the night's release does otherwise than the one before: on how many problems each alone is right."""
    from rjepa.releases.history import history
    from rjepa.releases.lineage import went_on_from

    moves = history(home, llm_tag) if release_id is not None else []
    decision = next((move.decision for move in reversed(moves) if move.target == release_id), None)
    if release_id is None or decision is None:
        return None
    alone = [
        f"{finding.domain}: {finding.only_challenger} answers that were wrong are right, {finding.only_current} wrong"
        for finding in decision.findings
    ]
    return f"went on from {went_on_from(home, llm_tag, release_id)}; " + "; ".join(alone)
