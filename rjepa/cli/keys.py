"""`rjepa keys`: make, list and revoke the keys of the service."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rjepa.cli.common import open_home, print_json
from rjepa.moments import to_iso

if TYPE_CHECKING:
    from rjepa.keys import KeyRecord

_APP = typer.Typer(help="API keys of the service: create, list, revoke.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Mount the verbs."""
    app.add_typer(_APP, name="keys")


@_APP.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, or what for.")],
    role: Annotated[
        str, typer.Option(help="viewer looks, user asks too, operator changes what is served too.")
    ] = "user",
    days: Annotated[float | None, typer.Option(min=0.001, help="Days until it expires [default: never].")] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Its own limit [default: the service's].")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Its own limit [default: the service's].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a key. It is shown once: only its hash is kept. A running service knows it within two seconds.

    Example: rjepa keys create alice --role user --days 90
    """
    from rjepa.database import open_database
    from rjepa.errors import InvalidInputError
    from rjepa.keys import ROLES, create_key

    known = next((one for one in ROLES if one == role), None)
    if known is None:
        raise InvalidInputError(f"{role!r} is no role", cure=f"use --role {', '.join(ROLES[:-1])} or {ROLES[-1]}")
    with open_database(open_home()) as database:
        key, record = create_key(
            database,
            name,
            known,
            days=days,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
    if as_json:
        print_json({"key": key} | _shown(record))
        return
    expires = "never expires" if record.expires_at_ms is None else f"expires {to_iso(record.expires_at_ms)}"
    typer.echo(f"key {record.key_id} of {record.name} ({record.role}, {expires}); it is shown this once:", err=True)
    typer.echo(key)


@_APP.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List every key that was made: id, role, name, until when. The keys themselves are kept nowhere.

    Example: rjepa keys list
    """
    from rjepa.database import open_database
    from rjepa.keys import list_keys

    with open_database(open_home()) as database:
        shown = [_shown(record) for record in list_keys(database)]
    if as_json:
        print_json(shown)
        return
    for row in shown:
        limits = [f"{row[name]} {name.replace('_', ' ')}" for name in _LIMITS if row[name] is not None]
        until = f", until {row['expires']}" if row["expires"] and row["state"] != "expired" else ""
        typer.echo(
            f"{row['id']}  {row['role']:8}  {row['state']:7}  {row['name']}{until}  {', '.join(limits)}".rstrip()
        )
    if not shown:
        typer.echo("there are no keys; `rjepa keys create NAME` makes one", err=True)


@_APP.command()
def revoke(key: Annotated[str, typer.Argument(help="Its id, or its name where one live key has it.")]) -> None:
    """End a key. A running service refuses it within two seconds.

    Example: rjepa keys revoke 3f2a9c41be07
    """
    from rjepa.database import open_database
    from rjepa.keys import revoke_key

    with open_database(open_home()) as database:
        record = revoke_key(database, key)
    typer.echo(f"revoked {record.key_id} of {record.name}")


_LIMITS = ("requests_per_minute", "tokens_per_minute")


def _shown(record: "KeyRecord") -> dict[str, Any]:
    return {
        "id": f"rjepa_{record.key_id}",
        "name": record.name,
        "role": record.role,
        "state": _state(record),
        "created": to_iso(record.created_at_ms),
        "expires": None if record.expires_at_ms is None else to_iso(record.expires_at_ms),
        "requests_per_minute": record.requests_per_minute,
        "tokens_per_minute": record.tokens_per_minute,
    }


def _state(record: "KeyRecord") -> str:
    if record.revoked_at_ms is not None:
        return "revoked"
    return "live" if record.is_live(round(datetime.now(UTC).timestamp() * 1000)) else "expired"
