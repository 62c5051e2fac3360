"""`rjepa feedback trace` and `forget`: what saw an interaction, and how it is made unseen."""

from typing import TYPE_CHECKING, Annotated

import typer

from rjepa.cli.common import ACCOUNT, open_home, print_json

if TYPE_CHECKING:
    from rjepa.living.tracing import Trace


def trace(
    interaction: Annotated[str, typer.Argument(help="Id of the answer.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which data sets, versions, checkpoints, LoRAs and releases saw an interaction.

    Example: rjepa feedback trace chatcmpl-0123
    """
    from rjepa.living import tracing

    found = tracing.trace(open_home(), interaction)
    if as_json:
        print_json(_shown(found))
    else:
        _tell(found)


def forget(
    interaction: Annotated[str, typer.Argument(help="Id of the answer.")],
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Make a release now that never saw it, from the last clean one on.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete an interaction, and name what still holds something of it; with --retrain, make the release that does not.

    Without --retrain the next night leaves it out: of its version, of replay, of negatives.

    Example: rjepa feedback forget chatcmpl-0123 --retrain --yes
    """
    from rjepa.database import open_database
    from rjepa.errors import NotFoundError
    from rjepa.feedback.interactions import delete_as, find
    from rjepa.feedback.tables import INTERACTIONS
    from rjepa.living import tracing

    home = open_home()
    with open_database(home) as database:
        if find(database, interaction) is None:
            raise NotFoundError(f"nothing is kept of {interaction!r}", cure="`rjepa feedback list` shows what is")
        if not yes:
            typer.confirm("Deleted words do not come back. Delete?", abort=True, err=True)
        delete_as(database, ACCOUNT, INTERACTIONS.c.interaction_id == interaction)
    found = tracing.trace(home, interaction)
    affected = sorted({release.llm_tag for release in found.releases if release.served})
    codes = {llm_tag: _retrain(llm_tag) for llm_tag in affected} if retrain else {}
    after = tracing.trace(home, interaction) if codes else found
    if as_json:
        print_json({"deleted": True, "retrained": codes, **_shown(after)})
    else:
        _tell(after)
        for llm_tag in affected:
            if llm_tag in codes:
                clean = not any(one.served and one.llm_tag == llm_tag for one in after.releases)
                typer.echo(f"{llm_tag}: what is served " + ("never saw it" if clean else "saw it still"))
            else:
                typer.echo(f"{llm_tag}: `rjepa feedback forget {interaction} --retrain` makes a release without it")
    if any(codes.values()):
        raise typer.Exit(1)


def _retrain(llm_tag: str) -> int:
    """Run the night that forgets; returns its exit code. It is a process of its own: nights run in the orchestrator,
    which this library may not import.
    """
    import subprocess
    import sys

    command = [sys.executable, "-m", "rjepa.cli.main", "retrain", "--llm", llm_tag, "--trigger", "forget"]
    # What it prints goes to stderr: stdout is this command's own.
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode


def _tell(found: "Trace") -> None:
    rows = [("data set", name, "") for name in found.snapshots]
    rows += [("version", name, ", ".join(problems)) for name, problems in found.versions.items()]
    rows += [("checkpoint", f"{one.llm_tag} {one.name}", "") for one in found.checkpoints]
    rows += [
        ("LoRA", f"{one.llm_tag} {one.name}", f"rjepa lora remove {one.llm_tag}+{one.name}") for one in found.loras
    ]
    rows += [("release", f"{one.llm_tag} {one.name}", "served now" if one.served else "") for one in found.releases]
    for kind, name, more in rows:
        typer.echo(f"{kind:10}  {name}  {more}".rstrip())
    for llm_tag, release_id in found.clean.items():
        typer.echo(f"{'last clean':10}  {llm_tag} {release_id or 'none: every release of the lineage saw it'}")
    if not rows:
        typer.echo(f"nothing saw {found.interaction_id}", err=True)


def _shown(found: "Trace") -> dict[str, object]:
    return {
        "id": found.interaction_id,
        "datasets": list(found.snapshots),
        "versions": {name: list(problems) for name, problems in found.versions.items()},
        "checkpoints": [{"llm": one.llm_tag, "dataset": one.name} for one in found.checkpoints],
        "loras": [{"llm": one.llm_tag, "lora": one.name} for one in found.loras],
        "releases": [{"llm": one.llm_tag, "release": one.name, "served": one.served} for one in found.releases],
        "last_clean": found.clean,
    }
