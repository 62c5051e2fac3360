"""`rjepa feedback`: list, review, export and delete the answers and votes that users let us keep.

The verbs `trace` and `forget`, which follow one answer through versions and releases, are in `feedback_trace`.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rjepa.cli.common import ACCOUNT, open_home, print_json
from rjepa.cli.feedback_trace import forget, trace

if TYPE_CHECKING:
    from rjepa.feedback.decisions import Chosen, Selection
    from rjepa.feedback.records import Decision, Owner

_APP = typer.Typer(help="What users say of answers: look, review, export, delete, trace.", no_args_is_help=True)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Parent = Annotated[str | None, typer.Option(help="Version that the next one grows from [default: as a night has it].")]
_User = Annotated[str | None, typer.Option(help="One of the client's users, by the client's own word for it.")]


def register(app: typer.Typer) -> None:
    """Mount the verbs."""
    app.add_typer(_APP, name="feedback")


_APP.command()(trace)
_APP.command()(forget)


@_APP.command("list")
def list_(
    outcome: Annotated[str | None, typer.Option(help="Only accepted, rejected, review or refused ones.")] = None,
    parent: _Parent = None,
    as_json: _Json = False,
) -> None:
    """List what is kept and what is decided of each, with the reason. Words are shown by `rjepa feedback review`.

    Example: rjepa feedback list --outcome review
    """
    from rjepa.errors import InvalidInputError
    from rjepa.feedback.decisions import OUTCOMES

    if outcome is not None and outcome not in OUTCOMES:
        raise InvalidInputError(f"{outcome!r} is no outcome", cure=f"use --outcome {', '.join(OUTCOMES)}")
    selection = _select(parent)
    rows = [_row(one) for one in selection.chosen if outcome in (None, one.outcome)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        p = "" if row["p_correct"] is None else f"p {row['p_correct']:.2f}"
        decided = f"{row['outcome']:8}  {row['reason']:27}"
        typer.echo(f"{row['id']}  {decided}  {row['vote'] or '-':4}  {p:6}  {row['owner']}")
    if not rows:
        typer.echo("nothing is kept; users give consent on the chat page or with POST /v1/feedback", err=True)


@_APP.command()
def stats(parent: _Parent = None, as_json: _Json = False) -> None:
    """Show the funnel: how many were kept, and how many went which way for which reason.

    Example: rjepa feedback stats
    """
    from rjepa.database import open_database
    from rjepa.feedback.votes import list_votes

    selection = _select(parent)
    with open_database(open_home()) as database:
        votes = [vote.vote for vote in list_votes(database)]
    figures: dict[str, Any] = {"votes_up": votes.count("up"), "votes_down": votes.count("down")}
    figures |= selection.funnel.figures()
    if as_json:
        print_json(figures | {"sha256": selection.sha256})
        return
    for name, count in figures.items():
        typer.echo(f"{count:6}  {name}")


@_APP.command()
def review(
    interaction: Annotated[str | None, typer.Argument(help="One id, with --accept, --reject or --skip.")] = None,
    accept: Annotated[bool, typer.Option("--accept", help="Learn from it.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Do not learn from it.")] = False,
    skip: Annotated[bool, typer.Option("--skip", help="Leave it to another; it stays in the queue.")] = False,
    parent: _Parent = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the queue as JSON and ask nothing.")] = False,
) -> None:
    """Decide what no rule settles: question and answer are shown one by one, or one is decided by its id.

    What is held out, opted out or a duplicate stays refused, and a chain with a wrong equation rejected.

    Example: rjepa feedback review chatcmpl-0123 --accept
    """
    from rjepa.errors import InvalidInputError

    flags: dict[Decision, bool] = {"accept": accept, "reject": reject, "skip": skip}
    wanted = [decision for decision, is_set in flags.items() if is_set]
    if len(wanted) > 1 or bool(wanted) != (interaction is not None):
        raise InvalidInputError(
            "it is not clear what is decided", cure="give an id with one of --accept, --reject, --skip"
        )
    if interaction is not None:
        _decide(interaction, wanted[0])
        return
    queue = _select(parent).review
    if as_json:
        print_json([_row(one) | {"content": one.evidence.content.model_dump(mode="json")} for one in queue])
        return
    decisions: dict[str, Decision] = {"a": "accept", "r": "reject"}
    for place, one in enumerate(queue, 1):
        typer.echo(f"\n{place} of {len(queue)}  {one.interaction_id}  ({one.reason})", err=True)
        typer.echo(f"{one.evidence.content.statement}\n\n{one.evidence.content.text.strip()}")
        answer = typer.prompt("accept, reject, skip or quit? [a/r/s/q]", default="s", err=True).strip().lower()[:1]
        if answer == "q":
            return
        if answer in decisions:
            _decide(one.interaction_id, decisions[answer])
    if not queue:
        typer.echo("the queue is empty", err=True)


@_APP.command()
def export(
    client: Annotated[str | None, typer.Option(help="Of one client: key:ID, token:SUBJECT [default: of all].")] = None,
    user: _User = None,
) -> None:
    """Write what is kept to stdout, one JSON object a line, with its vote and comment; tombstones included.

    Example: rjepa feedback export --client key:3f2a9c41be07 > theirs.jsonl
    """
    from rjepa.database import open_database
    from rjepa.feedback import interactions

    owner = None if client is None else _owner(client, user)
    with open_database(open_home()) as database:
        for line in interactions.export(database, owner):
            typer.echo(line, nl=False)


@_APP.command()
def delete(
    interaction: Annotated[str | None, typer.Argument(help="One id.")] = None,
    client: Annotated[str | None, typer.Option(help="All of one client: key:ID, token:SUBJECT.")] = None,
    user: _User = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete the words of one interaction, or of all of an owner; ids and times stay. The next version leaves them out.

    Example: rjepa feedback delete --client key:3f2a9c41be07 --user alice --yes
    """
    from rjepa.database import open_database
    from rjepa.errors import InvalidInputError
    from rjepa.feedback import interactions
    from rjepa.feedback.tables import INTERACTIONS

    if (interaction is None) == (client is None):
        raise InvalidInputError("it is not clear what to delete", cure="give one id, or --client")
    if not yes:
        typer.confirm("Deleted words do not come back. Delete?", abort=True, err=True)
    with open_database(open_home()) as database:
        if client is not None:
            number = interactions.delete_all(database, _owner(client, user), ACCOUNT)
        else:
            number = interactions.delete_as(database, ACCOUNT, INTERACTIONS.c.interaction_id == interaction)
    typer.echo(f"deleted {number} interaction(s)")


@_APP.command()
def workspace(
    name: Annotated[str, typer.Argument(help="a-z, 0-9, '.', '_', '-'.")],
    include: Annotated[
        bool | None, typer.Option("--include/--exclude", help="Whether nights learn from its users' data.")
    ] = None,
    add: Annotated[list[str] | None, typer.Option("--add", help="Client to put into it: key:ID. Repeat.")] = None,
) -> None:
    """Say whether what the users of a workspace consented to is learned from, and which clients belong to it.

    Example: rjepa feedback workspace lab --exclude --add key:3f2a9c41be07
    """
    from rjepa.database import open_database
    from rjepa.errors import InvalidInputError
    from rjepa.feedback.consent import join_workspace, set_workspace

    if include is None and not add:
        raise InvalidInputError("nothing is to be changed", cure="use --include, --exclude or --add")
    with open_database(open_home()) as database:
        if include is not None:
            set_workspace(database, name, include, ACCOUNT)
        for client in add or ():
            join_workspace(database, client, name, ACCOUNT)
    typer.echo(f"workspace {name}" + ("" if include is None else f": {'included' if include else 'excluded'}"))


@_APP.command()
def audit(
    interaction: Annotated[str | None, typer.Argument(help="One id [default: all].")] = None, as_json: _Json = False
) -> None:
    """Show who did what and when. The log holds no words of users, and the database refuses to change it.

    Example: rjepa feedback audit chatcmpl-0123
    """
    from datetime import UTC, datetime

    from rjepa.database import open_database
    from rjepa.feedback.audit import read_audit

    with open_database(open_home()) as database:
        entries = read_audit(database, interaction)
    if as_json:
        print_json([vars(entry) for entry in entries])
        return
    for entry in entries:
        moment = datetime.fromtimestamp(entry.at_ms / 1000, UTC).isoformat(timespec="seconds")
        details = ", ".join(f"{name} {value}" for name, value in entry.details.items() if value is not None)
        typer.echo(f"{moment}  {entry.what:16}  {entry.interaction_id or '-'}  {entry.who}  {details}")


def _select(parent: str | None) -> "Selection":
    from rjepa.database import open_database
    from rjepa.feedback.evidence import gather
    from rjepa.feedback.selection import select
    from rjepa.living.night import growing_from
    from rjepa.settings import load_settings

    home = open_home()
    with open_database(home) as database:
        return select(gather(home, database, parent or growing_from(home, load_settings().llm)))


def _decide(interaction_id: str, decision: "Decision") -> None:
    from rjepa.database import open_database
    from rjepa.feedback.reviews import review as write

    with open_database(open_home()) as database:
        write(database, interaction_id, decision, ACCOUNT)
    typer.echo(f"{interaction_id}: {decision}", err=True)


def _owner(client: str, user: str | None) -> "Owner":
    from rjepa.database import open_database
    from rjepa.feedback.records import Owner
    from rjepa.feedback.tickets import hash_user, home_secret

    if user is None:
        return Owner(client)
    with open_database(open_home()) as database:
        return Owner(client, hash_user(home_secret(database), user))


def _row(one: "Chosen") -> dict[str, Any]:
    evidence = one.evidence
    return {
        "id": one.interaction_id,
        "outcome": one.outcome,
        "reason": one.reason,
        "vote": evidence.vote.vote if evidence.vote is not None else None,
        "p_correct": evidence.interaction.p_correct,
        "owner": evidence.interaction.owner.name,
        "release": evidence.interaction.release_id,
        "answered_at_ms": evidence.interaction.answered_at_ms,
    }
