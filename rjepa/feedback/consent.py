"""What consent says, who opted out, and which workspaces let their users' data be learned from."""

import hashlib
from typing import Any, Final

from sqlalchemy import Column, Connection, delete, insert, select, update

from rjepa.database import Database
from rjepa.errors import InvalidInputError
from rjepa.feedback.audit import note
from rjepa.feedback.records import Owner
from rjepa.feedback.tables import MEMBERS, OPT_OUTS, WORKSPACE_LENGTH, WORKSPACES
from rjepa.home import TAG_PATTERN

CONSENT: Final = {
    "en": (
        "Keep this question and answer, so that R-JEPA may learn from them. E-mail addresses, telephone, card and "
        "account numbers, network addresses, links and keys are taken out first; names are not. You can see, export "
        "and delete what is kept at any time; what is deleted is in no later training."
    ),
    "fr": (
        "Conserver cette question et cette réponse, afin que R-JEPA puisse en apprendre. Adresses électroniques et "
        "réseau, numéros de téléphone, de carte et de compte, liens et clés en sont d'abord retirés ; les noms, non. "
        "Vous pouvez à tout moment voir, exporter et supprimer ce qui est conservé ; ce qui est supprimé n'entre plus "
        "dans aucun entraînement."
    ),
}
"""The words that a person agrees to, for one answer at a time."""

CONSENT_VERSION: Final = hashlib.sha256("\n".join(CONSENT.values()).encode()).hexdigest()[:12]
"""Kept with each answer: other words are another version by themselves."""

DEFAULT_WORKSPACE: Final = "default"
"""Of every client that was put into no other."""


def opt_out(database: Database, owner: Owner) -> bool:
    """Let nothing of an owner be kept or learned from any more; False where that was so before."""

    def write(connection: Connection) -> bool:
        if _opted_out(connection, owner):
            return False
        now_ms = database.now_ms(connection)
        connection.execute(insert(OPT_OUTS).values(client=owner.client, end_user=owner.end_user, since_ms=now_ms))
        note(connection, now_ms, owner.name, "opted_out")
        return True

    return database.transact(write)


def opt_in(database: Database, owner: Owner) -> bool:
    """Take an opt-out back; False where there was none. What was deleted stays deleted."""

    def write(connection: Connection) -> bool:
        mine = (OPT_OUTS.c.client == owner.client) & (OPT_OUTS.c.end_user == owner.end_user)
        removed = connection.execute(delete(OPT_OUTS).where(mine)).rowcount > 0
        if removed:
            note(connection, database.now_ms(connection), owner.name, "opted_in")
        return removed

    return database.transact(write)


def is_opted_out(database: Database, owner: Owner) -> bool:
    """Whether an owner, or the client that it belongs to, opted out."""
    with database.reading() as connection:
        return _opted_out(connection, owner, whole_client=True)


def opted_out(connection: Connection) -> set[Owner]:
    """Everyone who opted out."""
    return {Owner(row.client, row.end_user) for row in connection.execute(select(OPT_OUTS))}


def set_workspace(database: Database, workspace: str, include_user_data: bool, who: str) -> None:
    """Say whether what users of a workspace consented to may be learned from. Without a word, it may.

    Raises:
        InvalidInputError: the name does not fit.
    """
    _check_workspace(workspace)

    def write(connection: Connection) -> None:
        _put(connection, WORKSPACES.c.workspace, workspace, include_user_data=include_user_data)
        now_ms = database.now_ms(connection)
        note(connection, now_ms, who, "workspace_set", workspace=workspace, include_user_data=include_user_data)

    database.transact(write)


def join_workspace(database: Database, client: str, workspace: str, who: str) -> None:
    """Put a client (`key:` and the key's id) into a workspace; what it sends from now on belongs there.

    Raises:
        InvalidInputError: the name does not fit.
    """
    _check_workspace(workspace)

    def write(connection: Connection) -> None:
        _put(connection, MEMBERS.c.client, client, workspace=workspace)
        note(connection, database.now_ms(connection), who, "workspace_joined", client=client, workspace=workspace)

    database.transact(write)


def _put(connection: Connection, key: Column[str], name: str, **values: Any) -> None:
    """Write the row of a table whose key is `name`, over the one that is there."""
    if not connection.execute(update(key.table).where(key == name).values(values)).rowcount:
        connection.execute(insert(key.table).values({key.name: name} | values))


def workspace_of(connection: Connection, client: str) -> str:
    """The workspace of a client."""
    found = connection.execute(select(MEMBERS.c.workspace).where(MEMBERS.c.client == client)).scalar()
    return found or DEFAULT_WORKSPACE


def excluded_workspaces(connection: Connection) -> set[str]:
    """Workspaces whose users' data is not learned from."""
    query = select(WORKSPACES.c.workspace).where(~WORKSPACES.c.include_user_data)
    return set(connection.execute(query).scalars())


def _opted_out(connection: Connection, owner: Owner, *, whole_client: bool = False) -> bool:
    names = {owner.end_user, ""} if whole_client else {owner.end_user}
    query = select(OPT_OUTS.c.since_ms).where(OPT_OUTS.c.client == owner.client, OPT_OUTS.c.end_user.in_(names))
    return connection.execute(query).first() is not None


def _check_workspace(workspace: str) -> None:
    if not TAG_PATTERN.fullmatch(workspace) or len(workspace) > WORKSPACE_LENGTH:
        raise InvalidInputError(
            f"{workspace[:WORKSPACE_LENGTH]!r} cannot be the name of a workspace",
            cure=f"use at most {WORKSPACE_LENGTH} of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit",
        )
