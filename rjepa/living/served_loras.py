"""Which LoRAs of a student the service serves, since when, and who changed that and why: rows of the database.

The newest row holds the whole set. Every process of the service follows it, as all follow a release's `CURRENT`.
Loading them is `serving.loras`'s; there their files are compared with the hashes that stand here.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError
from sqlalchemy import JSON, BigInteger, Column, Connection, Integer, String, Table, Text, insert, select

from rjepa.database import METADATA, Database
from rjepa.errors import CorruptError, RjepaError
from rjepa.moments import to_iso
from rjepa.values import FrozenValue

LORA_MOVES: Final = Table(
    "lora_moves",
    METADATA,
    # SQLite counts up by itself for a column of the type INTEGER alone.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("llm_tag", String(64), nullable=False, index=True),
    Column("action", String(16), nullable=False),
    Column("names", JSON, nullable=False),
    Column("served", JSON, nullable=False),
    Column("who", String(300), nullable=False),
    Column("reason", Text, nullable=False),
    Column("moved_at_ms", BigInteger, nullable=False),
)
"""Append-only: what was done to which LoRAs, and all that are served from then on."""

Action = Literal["reload", "unload", "health"]
"""Somebody named the whole set; somebody took one out; the rule of `rjepa.living.lora_health` did."""

LONGEST_MOVE_REASON: Final = 2000
"""Letters of a reason; a rule's words of three rates take some hundred."""


class LorasMovedError(RjepaError):
    """Which LoRAs are served has changed since somebody looked."""


class Served(FrozenValue):
    """One LoRA that is served: the hash of its files, and since when, in milliseconds since 1970."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    since_ms: int


class ServedSet(FrozenValue):
    """All LoRAs of a student that are served, by name. `move` is the row that says so; 0 where there never was one."""

    move: int = 0
    loras: Mapping[str, Served] = Field(default_factory=dict)

    @property
    def hashes(self) -> dict[str, str]:
        """The hash of each LoRA's files, by name."""
        return {name: one.sha256 for name, one in self.loras.items()}


class LoraMove(FrozenValue):
    """One change of the set."""

    at: str = Field(description="moment in UTC, ISO 8601")
    action: Action
    names: tuple[str, ...] = Field(description="the LoRAs that were named, or taken out")
    served: tuple[str, ...] = Field(description="all that were served from then on")
    who: str = Field(description="the key or the account, or the rule")
    reason: str


_SERVED: Final = TypeAdapter(dict[str, Served])


def read_served(database: Database, llm_tag: str) -> ServedSet:
    """The LoRAs that are served now.

    Raises:
        CorruptError: the row was written by something else than this module.
    """
    with database.reading() as connection:
        return _newest(connection, llm_tag)


def move_served(
    database: Database,
    llm_tag: str,
    hashes: Mapping[str, str],
    *,
    after: int,
    action: Action,
    names: tuple[str, ...],
    who: str,
    reason: str = "",
) -> ServedSet:
    """Serve these LoRAs from now on, by name and hash; durable when this returns. One that was served before with the
    same files is served since then.

    Args:
        after: the move that the caller has seen.

    Raises:
        LorasMovedError: another came between.
    """

    def write(connection: Connection) -> ServedSet:
        before = _newest(connection, llm_tag)
        if before.move != after:
            raise LorasMovedError(
                f"somebody else has changed which LoRAs of {llm_tag} are served",
                cure="look at GET /v1/lora, then decide again",
            )
        now_ms = database.now_ms(connection)
        loras = {}
        for name, sha256 in hashes.items():
            old = before.loras.get(name)
            loras[name] = old if old is not None and old.sha256 == sha256 else Served(sha256=sha256, since_ms=now_ms)
        row = {
            "llm_tag": llm_tag,
            "action": action,
            "names": list(names),
            "served": {name: one.model_dump() for name, one in loras.items()},
            "who": who,
            "reason": reason[:LONGEST_MOVE_REASON],
            "moved_at_ms": now_ms,
        }
        done = connection.execute(insert(LORA_MOVES).values(**row))
        (key,) = done.inserted_primary_key or (0,)
        return ServedSet(move=int(key), loras=loras)

    return database.transact(write)


def list_moves(database: Database, llm_tag: str, limit: int = 20) -> list[LoraMove]:
    """The newest changes, newest first."""
    wanted = select(LORA_MOVES).where(LORA_MOVES.c.llm_tag == llm_tag).order_by(LORA_MOVES.c.id.desc()).limit(limit)
    with database.reading() as connection:
        rows = connection.execute(wanted).mappings().all()
    return [
        LoraMove(
            at=to_iso(row["moved_at_ms"]),
            action=row["action"],
            names=tuple(row["names"]),
            served=tuple(row["served"]),
            who=row["who"],
            reason=row["reason"],
        )
        for row in rows
    ]


def _newest(connection: Connection, llm_tag: str) -> ServedSet:
    wanted = select(LORA_MOVES.c.id, LORA_MOVES.c.served).where(LORA_MOVES.c.llm_tag == llm_tag)
    row: Any = connection.execute(wanted.order_by(LORA_MOVES.c.id.desc()).limit(1)).first()
    if row is None:
        return ServedSet()
    try:
        return ServedSet(move=int(row[0]), loras=_SERVED.validate_python(row[1]))
    except ValidationError as error:
        raise CorruptError(
            f"row {row[0]} of the table lora_moves does not fit",
            cure="name the LoRAs again: POST /v1/lora/reload, or delete that row",
        ) from error
