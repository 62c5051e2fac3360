"""Every night that began or was refused by a limit: a row of the database, from its beginning to its end.

What a night did to the pointer stands in `rjepa.releases.history`; here stands that there was one, from what, and how
it ended. A night that was killed has a row without an end, until the next one closes it.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from pydantic import Field
from sqlalchemy import BigInteger, Column, Connection, Float, Integer, String, Table, Text, insert, select, update

from rjepa.database import METADATA, Database
from rjepa.values import FrozenValue

Trigger = Literal["person", "schedule", "sensor", "forget"]
TRIGGERS: Final[tuple[Trigger, ...]] = get_args(Trigger)

Outcome = Literal["running", "promoted", "refused", "failed", "limited", "nothing_new"]
"""refused: by the gate. limited: by a limit, before it began. nothing_new: there was nothing to learn."""

KILLED: Final = "the process that ran it was killed"
_LONGEST_TEXT: Final = 2000

LEARNING_ATTEMPTS: Final = Table(
    "learning_attempts",
    METADATA,
    # SQLite counts up by itself for a column of the type INTEGER alone.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("llm_tag", String(64), nullable=False, index=True),
    Column("trigger", String(16), nullable=False),
    Column("began_at_ms", BigInteger, nullable=False, index=True),
    Column("ended_at_ms", BigInteger),
    Column("outcome", String(16), nullable=False),
    Column("selection", String(64), nullable=False, comment="SHA-256 of what was selected from feedback"),
    Column("accepted", Integer, nullable=False),
    Column("dataset", String(64)),
    Column("init_from", String(64), comment="release that training went on from"),
    Column("learning_rate", Float),
    Column("release_id", String(64), comment="the bundle that it made"),
    Column("limit_name", String(64)),
    Column("limit_value", Float),
    Column("text", Text, nullable=False),
)


class Attempt(FrozenValue):
    """One night of one LLM. Moments are milliseconds since 1970."""

    id: int
    llm_tag: str
    trigger: Trigger
    began_at_ms: int
    ended_at_ms: int | None
    outcome: Outcome
    selection: str = Field(description="SHA-256 of what was selected from feedback")
    accepted: int = Field(description="interactions that were accepted")
    dataset: str | None
    init_from: str | None = Field(description="release that training went on from")
    learning_rate: float | None
    release_id: str | None = Field(description="the bundle that it made")
    limit_name: str | None = Field(description="the limit that refused it")
    limit_value: float | None
    text: str = Field(description="why it ended so, for people")


def begin(database: Database, llm_tag: str, trigger: Trigger, selection: str, accepted: int, **facts: Any) -> int:
    """Write down that a night begins; its id.

    Args:
        facts: dataset, init_from, learning_rate.
    """
    values = {"llm_tag": llm_tag, "trigger": trigger, "selection": selection, "accepted": accepted, **facts}
    return database.transact(lambda connection: _insert(database, connection, "running", "", values))


def refuse(
    database: Database,
    llm_tag: str,
    trigger: Trigger,
    selection: str,
    accepted: int,
    outcome: Outcome,
    text: str,
    **facts: Any,
) -> None:
    """Write down a night that did not begin, and why. Where the newest row says the same, nothing is added.

    Args:
        facts: limit_name, limit_value.
    """
    values = {"llm_tag": llm_tag, "trigger": trigger, "selection": selection, "accepted": accepted, **facts}

    def write(connection: Connection) -> None:
        wanted = select(LEARNING_ATTEMPTS).where(LEARNING_ATTEMPTS.c.llm_tag == llm_tag)
        newest = connection.execute(wanted.order_by(LEARNING_ATTEMPTS.c.id.desc()).limit(1)).mappings().first()
        reason = {"selection": selection, "outcome": outcome, "limit_name": None, **facts}
        if newest is None or any(newest[name] != value for name, value in reason.items()):
            _insert(database, connection, outcome, text, values)

    database.transact(write)


def finish(database: Database, attempt: int, outcome: Outcome, text: str, release_id: str | None = None) -> None:
    """Write down how a night ended."""

    def write(connection: Connection) -> None:
        values = {"outcome": outcome, "text": text[:_LONGEST_TEXT], "release_id": release_id}
        here = LEARNING_ATTEMPTS.c.id == attempt
        connection.execute(
            update(LEARNING_ATTEMPTS).where(here).values(ended_at_ms=database.now_ms(connection), **values)
        )

    database.transact(write)


def list_attempts(database: Database, llm_tag: str, limit: int = 200) -> list[Attempt]:
    """The newest nights of an LLM, newest first."""
    wanted = select(LEARNING_ATTEMPTS).where(LEARNING_ATTEMPTS.c.llm_tag == llm_tag)
    with database.reading() as connection:
        rows = connection.execute(wanted.order_by(LEARNING_ATTEMPTS.c.id.desc()).limit(limit)).mappings().all()
    return [Attempt.model_validate(dict(row)) for row in rows]


def _insert(database: Database, connection: Connection, outcome: Outcome, text: str, values: Mapping[str, Any]) -> int:
    now = database.now_ms(connection)
    row = {
        **values,
        "began_at_ms": now,
        "ended_at_ms": None if outcome == "running" else now,
        "outcome": outcome,
        "text": text[:_LONGEST_TEXT],
    }
    key = connection.execute(insert(LEARNING_ATTEMPTS).values(**row)).inserted_primary_key
    return int(key[0]) if key is not None else 0
