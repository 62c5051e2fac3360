"""Windows of the service's health: counts of what it answered under one release, as rows of the database.

The service adds windows (`serving.quality`), a row a window and process; `rjepa.living.health` compares them. Sums and
counts only: nothing of what was asked or answered is in a row, and no client's name.
"""

import secrets
from collections.abc import Iterable
from typing import Final, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator
from sqlalchemy import BigInteger, Column, Connection, Float, Integer, String, Table, delete, insert, select

from rjepa.database import METADATA, Database
from rjepa.moments import DAY_MS
from rjepa.values import FrozenValue

KEPT_DAYS: Final = 90
"""How long a window stays: health compares hours, and a quarter is what somebody may want to look back on."""

_ID_BYTES: Final = 16

HEALTH_WINDOWS: Final = Table(
    "health_windows",
    METADATA,
    Column("window_id", String(32), primary_key=True),
    Column("llm_tag", String(64), nullable=False, index=True),
    Column("release_id", String(64), nullable=False),
    Column("started_at_ms", BigInteger, nullable=False, index=True),
    Column("ended_at_ms", BigInteger, nullable=False),
    Column("answers", Integer, nullable=False),
    Column("errors", Integer, nullable=False),
    Column("energies", Integer, nullable=False),
    Column("energy_sum", Float, nullable=False),
    Column("energy_squares", Float, nullable=False),
    Column("unfamiliar", Integer, nullable=False),
    Column("thumbs_up", Integer, nullable=False),
    Column("thumbs_down", Integer, nullable=False),
)
"""Several processes add rows for the same minutes: whoever reads adds them up."""


class Window(FrozenValue):
    """What one process of the service did under one release between two moments (milliseconds since 1970)."""

    llm_tag: str
    release_id: str
    started_at_ms: NonNegativeInt
    ended_at_ms: NonNegativeInt
    answers: NonNegativeInt = Field(0, description="questions that were answered")
    errors: NonNegativeInt = Field(0, description="questions that failed by the service's fault: status 500 and above")
    energies: NonNegativeInt = Field(
        0, description="answers that have an energy, and whose client had not had its share of the hour"
    )
    energy_sum: NonNegativeFloat = Field(0.0, description="of their mean energies over steps")
    energy_squares: NonNegativeFloat = Field(0.0, description="sum of the squares of the same")
    unfamiliar: NonNegativeInt = Field(
        0, description="of `energies`: to problems of a kind that the release does not know"
    )
    thumbs_up: NonNegativeInt = Field(0, description="votes that arrived, for answers of this release")
    thumbs_down: NonNegativeInt = 0

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.ended_at_ms < self.started_at_ms:
            raise ValueError(f"the window ends at {self.ended_at_ms}, before it starts at {self.started_at_ms}")
        if not self.unfamiliar <= self.energies <= self.answers:
            raise ValueError(
                f"{self.answers} answers cannot have {self.energies} energies, {self.unfamiliar} unfamiliar"
            )
        return self


def add_windows(database: Database, windows: Iterable[Window]) -> None:
    """Add windows, and forget those that are older than `KEPT_DAYS`; durable when this returns."""
    rows = [{"window_id": secrets.token_hex(_ID_BYTES), **window.model_dump()} for window in windows]
    if not rows:
        return

    def write(connection: Connection) -> None:
        connection.execute(insert(HEALTH_WINDOWS), rows)
        oldest = database.now_ms(connection) - KEPT_DAYS * DAY_MS
        connection.execute(delete(HEALTH_WINDOWS).where(HEALTH_WINDOWS.c.ended_at_ms < oldest))

    database.transact(write)


def read_windows(database: Database, llm_tag: str, since_ms: int) -> list[Window]:
    """Windows of an LLM that ended at `since_ms` or later, oldest first."""
    columns = [column for column in HEALTH_WINDOWS.c if column.name != "window_id"]
    wanted = select(*columns).where(HEALTH_WINDOWS.c.llm_tag == llm_tag, HEALTH_WINDOWS.c.ended_at_ms >= since_ms)
    with database.reading() as connection:
        rows = connection.execute(wanted.order_by(HEALTH_WINDOWS.c.ended_at_ms)).mappings().all()
    return [Window.model_validate(dict(row)) for row in rows]
