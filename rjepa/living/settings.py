"""How this installation learns from its users: settings of the nights, who changed them, when, and what was before.

They live in the database, so that the service, the command line, MCP clients and Dagster's runs read one truth. Keeping
and validating them belongs here; what a night does with them is `rjepa.living`'s other modules' matter.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Self

from pydantic import Field, ValidationError, model_validator
from sqlalchemy import JSON, BigInteger, Column, Connection, Integer, String, Table, Text, delete, insert, select

from rjepa.database import METADATA, Database
from rjepa.errors import CorruptError, InvalidInputError
from rjepa.values import FrozenValue

WORKSPACE: Final = "default"
"""The workspace of an installation that names none."""

LONGEST_RATE: Final = 0.05
"""No ceiling of the learning rate may be higher: 25 times what R-JEPA is trained with from scratch."""

_LONGEST_NAME: Final = 300
"""Of who changes a setting: a token's subject may be long."""
LONGEST_REASON: Final = 500
"""Characters of why a setting is changed: one line."""
_CURE: Final = "see GET /v1/learning/config for each setting, its limits and its value"

LEARNING_SETTINGS: Final = Table(
    "learning_settings",
    METADATA,
    Column("workspace", String(64), primary_key=True),
    Column("setting", String(64), primary_key=True),
    Column("value", JSON, nullable=False),
)
"""One row a setting that was ever changed; the others have their defaults."""

LEARNING_CHANGES: Final = Table(
    "learning_changes",
    METADATA,
    # SQLite counts up by itself for a column of the type INTEGER alone.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("workspace", String(64), nullable=False, index=True),
    Column("setting", String(64), nullable=False),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Column("who", String(_LONGEST_NAME), nullable=False),
    Column("reason", Text, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
)
"""Append-only: one row a setting and a change of it."""


class LearningSettings(FrozenValue):
    """Everything that decides whether, when and how strongly a night learns."""

    enabled: bool = Field(False, description="nights learn by themselves: Dagster's sensor and schedule run")
    include_user_data: bool = Field(
        True,
        description="interactions with their users' consent are learnt from, where their workspace allows it; "
        "off: operators' examples alone",
    )
    min_interactions: int = Field(
        20, ge=1, le=1_000_000, description="new accepted interactions without which no night begins"
    )
    learning_rate: float = Field(
        5e-4, gt=0, le=LONGEST_RATE, description="of AdamW in the next night; R-JEPA's own training has 2e-3"
    )
    learning_rate_ceiling: float = Field(
        2e-3, gt=0, le=LONGEST_RATE, description="no learning rate above it is accepted"
    )
    learning_rate_decay: float = Field(
        0.5,
        gt=0,
        le=1,
        description="factor on the rate for each night in a row that was refused; a release ends the row",
    )
    replay_share: float = Field(0.5, ge=0, lt=1, description="share of old data in what a night trains on")
    ewc_strength: float = Field(0.0, ge=0, le=1e6, description="weight of elastic weight consolidation; 0 for none")
    max_attempts: int = Field(3, ge=1, le=100, description="nights that may begin within a window")
    window_hours: float = Field(24.0, ge=1, le=24 * 31, description="length of that window")
    max_failures: int = Field(5, ge=1, le=100, description="failures within the failure window that stop learning")
    failure_window_minutes: float = Field(10.0, ge=1, le=24 * 60, description="length of the failure window")
    automatic_rollback: bool = Field(
        True, description="a release whose live health falls is replaced by the one before, without a person"
    )
    cooldown_minutes: float = Field(
        60.0, ge=1, le=7 * 24 * 60, description="after an automatic rollback, none follows and no night begins so long"
    )

    @model_validator(mode="after")
    def _rate_is_below_its_ceiling(self) -> Self:
        if self.learning_rate > self.learning_rate_ceiling:
            raise ValueError(
                f"the learning rate {self.learning_rate:g} is above its ceiling of {self.learning_rate_ceiling:g}"
            )
        return self


class SettingsChange(FrozenValue):
    """One change of one setting."""

    at: str = Field(description="moment in UTC, ISO 8601")
    setting: str
    before: bool | int | float
    after: bool | int | float
    who: str = Field(description="the key, the account or the part of this program that changed it")
    reason: str


def read_settings(database: Database, workspace: str = WORKSPACE) -> LearningSettings:
    """The settings as they are now.

    Raises:
        CorruptError: a value in the database was written by something else than this module.
    """
    with database.reading() as connection:
        return _read(connection, workspace)


def change_settings(
    database: Database, changes: Mapping[str, Any], *, who: str, reason: str = "", workspace: str = WORKSPACE
) -> LearningSettings:
    """Change some settings, all or none, and record each change. Returns all of them as they are now.

    A setting that has the value already is no change and leaves no record.

    Raises:
        InvalidInputError: there is no such setting, a value is of another type or outside its limits, or the learning
            rate would be above its ceiling.
    """
    _check_words(who, reason)

    def write(connection: Connection) -> LearningSettings:
        before = _read(connection, workspace)
        after = _checked({**before.model_dump(), **changes})
        _write(database, connection, workspace, before, after, who=who, reason=reason)
        return after

    return database.transact(write)


def reset_settings(database: Database, *, who: str, reason: str = "", workspace: str = WORKSPACE) -> LearningSettings:
    """Give every setting its default, so that learning is off; each change is recorded."""
    return change_settings(database, LearningSettings().model_dump(), who=who, reason=reason, workspace=workspace)


def settings_changes(database: Database, limit: int = 50, workspace: str = WORKSPACE) -> list[SettingsChange]:
    """The newest changes, newest first."""
    wanted = (
        select(LEARNING_CHANGES)
        .where(LEARNING_CHANGES.c.workspace == workspace)
        .order_by(LEARNING_CHANGES.c.id.desc())
        .limit(limit)
    )
    with database.reading() as connection:
        rows = connection.execute(wanted).mappings().all()
    return [
        SettingsChange(
            at=datetime.fromtimestamp(row["changed_at_ms"] / 1000, UTC).isoformat(timespec="seconds"),
            **{name: row[name] for name in ("setting", "before", "after", "who", "reason")},
        )
        for row in rows
    ]


def _read(connection: Connection, workspace: str) -> LearningSettings:
    wanted = select(LEARNING_SETTINGS).where(LEARNING_SETTINGS.c.workspace == workspace)
    values = {row["setting"]: row["value"] for row in connection.execute(wanted).mappings()}
    try:
        return LearningSettings.model_validate(values, strict=True)
    except ValidationError as error:
        raise CorruptError(
            f"the learning settings of workspace {workspace} do not fit: {_words(error)}",
            cure="use the rjepa that wrote them, or delete their rows of the table learning_settings",
        ) from error


def _write(
    database: Database,
    connection: Connection,
    workspace: str,
    before: LearningSettings,
    after: LearningSettings,
    *,
    who: str,
    reason: str,
) -> None:
    now_ms = database.now_ms(connection)
    for setting, value in after.model_dump().items():
        old = getattr(before, setting)
        if value == old:
            continue
        here = (LEARNING_SETTINGS.c.workspace == workspace) & (LEARNING_SETTINGS.c.setting == setting)
        connection.execute(delete(LEARNING_SETTINGS).where(here))
        connection.execute(insert(LEARNING_SETTINGS).values(workspace=workspace, setting=setting, value=value))
        change = {"workspace": workspace, "setting": setting, "before": old, "after": value}
        connection.execute(insert(LEARNING_CHANGES).values(**change, who=who, reason=reason, changed_at_ms=now_ms))


def _checked(values: Mapping[str, Any]) -> LearningSettings:
    if strangers := sorted(set(values) - set(LearningSettings.model_fields)):
        raise InvalidInputError(f"there is no learning setting {strangers[0][:64]!r}", cure=_CURE)
    try:
        # Strict: "yes" is no true, and 1.5 no whole number. Whole numbers are floats where a float is asked for.
        return LearningSettings.model_validate(values, strict=True)
    except ValidationError as error:
        raise InvalidInputError(f"the learning settings do not fit: {_words(error)}", cure=_CURE) from error


def _words(error: ValidationError) -> str:
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    place = ".".join(str(part) for part in first["loc"])
    return str(cause) if cause is not None else f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _check_words(who: str, reason: str) -> None:
    if not who.strip() or len(who) > _LONGEST_NAME or not who.isprintable():
        raise ValueError(f"who changes a setting is 1 to {_LONGEST_NAME} printable characters")
    if len(reason) > LONGEST_REASON or not all(letter.isprintable() for letter in reason):
        raise InvalidInputError(
            "the reason does not fit", cure=f"write one line of at most {LONGEST_REASON} printable characters"
        )
