"""Who did what and when, without any content: rows that the database itself refuses to change or remove."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from rjepa.database import Database
from rjepa.feedback.tables import AUDIT


@dataclass(frozen=True)
class AuditEntry:
    """One thing that was done. `details` hold words of ours and figures, never what a user wrote."""

    at_ms: int
    who: str
    what: str
    interaction_id: str | None
    details: dict[str, Any]


def note(
    connection: Connection, at_ms: int, who: str, what: str, interaction_id: str | None = None, **details: Any
) -> None:
    """Write down what is done in this transaction: both become durable, or neither."""
    values = {"at_ms": at_ms, "who": who, "what": what, "interaction_id": interaction_id}
    connection.execute(insert(AUDIT).values(**values, details=json.dumps(details, sort_keys=True)))


def read_audit(database: Database, interaction_id: str | None = None) -> list[AuditEntry]:
    """What was done, oldest first; to one interaction, or to all."""
    query = select(AUDIT).order_by(AUDIT.c.number)
    if interaction_id is not None:
        query = query.where(AUDIT.c.interaction_id == interaction_id)
    with database.reading() as connection:
        rows = connection.execute(query).mappings().all()
    return [
        AuditEntry(row["at_ms"], row["who"], row["what"], row["interaction_id"], json.loads(row["details"]))
        for row in rows
    ]
