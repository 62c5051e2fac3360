"""Every move of the pointer and every refusal of the gate: append-only rows of the database.

Which release is served is a file (`rjepa.releases.pointer`); here stands why. Rows are added and never changed.
"""

from typing import Any, Final, Literal

from pydantic import Field, ValidationError
from sqlalchemy import JSON, BigInteger, Column, Integer, String, Table, Text, insert, select

from rjepa.database import METADATA, open_database
from rjepa.errors import CorruptError
from rjepa.home import Home
from rjepa.moments import to_iso
from rjepa.releases.gate import Decision
from rjepa.values import FrozenValue

Action = Literal["promote", "rollback", "refuse"]

AUTOMATIC: Final = "automatic"
"""Reasons of rollbacks that no person asked for begin so."""

RELEASE_MOVES: Final = Table(
    "release_moves",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("llm_tag", String(64), nullable=False, index=True),
    Column("moved_at", BigInteger, nullable=False),
    Column("action", String(16), nullable=False),
    Column("source", String(64)),
    Column("target", String(64), nullable=False),
    Column("rule", String(16)),
    Column("reason", Text, nullable=False),
    Column("decision", JSON),
)
"""`source` and `target` are ids of bundles; `rule` and `decision` (margins, bounds and counts in it) are the gate's."""


class Move(FrozenValue):
    """One entry. A `refuse` leaves the pointer where it was; `source` is what was current before."""

    at: str = Field(description="moment in UTC, ISO 8601")
    action: Action
    source: str | None
    target: str
    reason: str
    decision: Decision | None = Field(None, description="what the gate found; None where a person moved the pointer")

    @property
    def is_automatic(self) -> bool:
        """Whether this is a rollback that no person asked for."""
        return self.action == "rollback" and self.reason.startswith(AUTOMATIC)


def add_move(
    home: Home,
    llm_tag: str,
    action: Action,
    source: str | None,
    target: str,
    *,
    reason: str,
    decision: Decision | None = None,
) -> None:
    """Add one entry; it is durable when this returns.

    Raises:
        StorageError: the database cannot be written.
    """
    row: dict[str, Any] = {
        "llm_tag": llm_tag,
        "action": action,
        "source": source,
        "target": target,
        "rule": None if decision is None else decision.rule,
        "reason": reason,
        "decision": None if decision is None else decision.model_dump(mode="json"),
    }
    with open_database(home) as database:
        database.transact(
            lambda connection: connection.execute(
                insert(RELEASE_MOVES).values(moved_at=database.now_ms(connection), **row)
            )
        )


def history(home: Home, llm_tag: str) -> list[Move]:
    """Every entry of an LLM, oldest first.

    Raises:
        StorageError: the database cannot be reached.
        CorruptError: an entry was changed by something else than this module.
    """
    wanted = select(RELEASE_MOVES).where(RELEASE_MOVES.c.llm_tag == llm_tag).order_by(RELEASE_MOVES.c.id)
    with open_database(home) as database, database.reading() as connection:
        rows = connection.execute(wanted).mappings().all()
    try:
        return [
            Move(
                at=to_iso(row["moved_at"]),
                action=row["action"],
                source=row["source"],
                target=row["target"],
                reason=row["reason"],
                decision=row["decision"],
            )
            for row in rows
        ]
    except ValidationError as error:
        raise CorruptError(
            f"the history of {llm_tag}'s releases was changed by another program ({error.error_count()} errors)",
            cure="bring the database back from a backup",
        ) from error
