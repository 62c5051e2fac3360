"""What learning is doing, how the last night ended, and what the next one still needs. Read only."""

from datetime import UTC, datetime
from typing import Any, Final

from pydantic import Field

from rjepa.control.coming import NextNight, read_next_night
from rjepa.control.figures import LearningFigures, read_figures
from rjepa.control.live import LearningHealth, read_health
from rjepa.control.place import NIGHT_SWITCHES, Place
from rjepa.control.weights import served_release
from rjepa.living.attempts import Attempt, list_attempts
from rjepa.living.names import NIGHT_JOB
from rjepa.living.settings import LearningSettings, SettingsChange, read_settings, settings_changes
from rjepa.monitoring.dagster import DagsterAwayError, LaunchError, SwitchState, read_switch
from rjepa.monitoring.runs import RunState, read_runs
from rjepa.releases.history import Move, history
from rjepa.values import FrozenValue

_SHOWN_CHANGES: Final = 20
_SHOWN_NIGHTS: Final = 10
_LOOKED_AT_RUNS: Final = 100
"""Newest runs of any job, among which the nights' are looked for: Dagster's automation makes many small ones."""


class DagsterState(FrozenValue):
    """Dagster's part. A note says why it could not be read, and what to do."""

    switches: tuple[SwitchState, ...] = ()
    running: tuple[RunState, ...] = Field((), description="nights that wait or run")
    next_at: datetime | None = Field(None, description="when the schedule begins the next night")
    away: bool = Field(False, description="whether it does not answer at all")
    note: str | None = None


class LearningStatus(FrozenValue):
    """The answer of GET /v1/learning/status."""

    llm: str
    enabled: bool
    served: str | None = Field(description="id of the release that is served")
    last_move: Move | None = Field(description="the last promotion, refusal or rollback: what, why, with which numbers")
    last_night: Attempt | None = Field(description="the newest night that began or was refused, and how it ended")
    next_night: NextNight
    dagster: DagsterState


class LearningConfig(FrozenValue):
    """The answer of GET /v1/learning/config."""

    settings: LearningSettings
    limits: dict[str, Any] = Field(description="of each setting: type, default, smallest and largest, and what it does")
    changes: tuple[SettingsChange, ...] = Field(description="the newest changes, newest first")


class LearningStats(FrozenValue):
    """Everything at once, for who asks one question (the MCP tool get_learning_stats)."""

    status: LearningStatus
    config: LearningConfig
    figures: LearningFigures
    health: LearningHealth


def read_status(place: Place) -> LearningStatus:
    """What GET /v1/learning/status says.

    Raises:
        StorageError, CorruptError: the database cannot be read.
    """
    with place.open_database() as database:
        settings = read_settings(database)
        nights = list_attempts(database, place.llm_tag, limit=1)
        coming = read_next_night(place, database, settings)
    moves = history(place.home, place.llm_tag)
    return LearningStatus(
        llm=place.llm_tag,
        enabled=settings.enabled,
        served=served_release(place),
        last_move=moves[-1] if moves else None,
        last_night=nights[0] if nights else None,
        next_night=coming,
        dagster=read_dagster(place),
    )


def read_config(place: Place) -> LearningConfig:
    """What GET /v1/learning/config says."""
    with place.open_database() as database:
        settings, changes = read_settings(database), settings_changes(database, _SHOWN_CHANGES)
    return LearningConfig(
        settings=settings,
        limits=LearningSettings.model_json_schema()["properties"],
        changes=tuple(changes),
    )


def read_stats(place: Place) -> LearningStats:
    """Status, config, figures and health in one value."""
    return LearningStats(
        status=read_status(place), config=read_config(place), figures=read_figures(place), health=read_health(place)
    )


def read_dagster(place: Place) -> DagsterState:
    """Sensor, schedule and runs of the nights, or a note that says why they cannot be seen."""
    try:
        switches = tuple(read_switch(place.dagster_url, kind, name) for kind, name in NIGHT_SWITCHES)
        runs = read_runs(place.dagster_url, limit=_LOOKED_AT_RUNS)
    except (DagsterAwayError, LaunchError) as error:
        away = isinstance(error, DagsterAwayError)
        return DagsterState(away=away, note=f"{error.problem} -> {error.cure}")
    moments = [switch.next_at for switch in switches if switch.kind == "schedule" and switch.next_at is not None]
    return DagsterState(
        switches=switches,
        running=tuple(run for run in runs if run.job == NIGHT_JOB and run.ended_at is None),
        next_at=datetime.fromtimestamp(moments[0], UTC) if moments else None,
    )
