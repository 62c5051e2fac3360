"""Turn learning on and off, change how it learns, begin a night. Each change is recorded with who made it.

The settings decide: every night reads them first. Dagster's sensor and schedule follow them, so that its UI shows
the same; where its web server is away they are left as they are, and the result says so.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from rjepa.control.place import NIGHT_SWITCHES, Place
from rjepa.living.names import NIGHT_JOB
from rjepa.living.settings import LearningSettings, change_settings, reset_settings
from rjepa.monitoring.dagster import DagsterAwayError, LaunchError, SwitchState, add_partition, launch_job, turn
from rjepa.values import FrozenValue

_LLM_PARTITIONS: Final = "llm_tag"


class Changed(FrozenValue):
    """The settings after a change, and what became of Dagster's part of it."""

    settings: LearningSettings
    switches: tuple[SwitchState, ...] = Field((), description="Dagster's sensor and schedule as they are now")
    note: str | None = Field(None, description="why they could not be read or turned, and what to do")


class NightBegun(FrozenValue):
    """A run that Dagster was asked to start."""

    run_id: str
    job: str
    llm: str


def change(place: Place, changes: Mapping[str, Any], *, who: str, reason: str = "") -> Changed:
    """Change some settings, all or none; Dagster's sensor and schedule follow where `enabled` is among them.

    Raises:
        InvalidInputError: a setting is unknown or does not fit; nothing is changed.
    """
    with place.open_database() as database:
        settings = change_settings(database, changes, who=who, reason=reason)
    return _follow(place, settings) if "enabled" in changes else Changed(settings=settings)


def enable(place: Place, *, who: str, reason: str = "") -> Changed:
    """Let nights learn by themselves."""
    return change(place, {"enabled": True}, who=who, reason=reason)


def disable(place: Place, *, who: str, reason: str = "") -> Changed:
    """Begin no further night. One that runs goes on to its gate; end it in Dagster's UI if need be."""
    return change(place, {"enabled": False}, who=who, reason=reason)


def reset(place: Place, *, who: str, reason: str = "") -> Changed:
    """Give every setting its default: learning is off afterwards."""
    with place.open_database() as database:
        settings = reset_settings(database, who=who, reason=reason)
    return _follow(place, settings)


def begin_night(place: Place) -> NightBegun:
    """Let Dagster run a night now. Its limits hold: the night itself refuses, and says which limit and value.

    Raises:
        DagsterAwayError: Dagster's web server does not answer.
        LaunchError: it does not launch the run.
    """
    add_partition(place.dagster_url, _LLM_PARTITIONS, place.llm_tag)
    run_id = launch_job(place.dagster_url, NIGHT_JOB, partition=place.llm_tag)
    return NightBegun(run_id=run_id, job=NIGHT_JOB, llm=place.llm_tag)


def _follow(place: Place, settings: LearningSettings) -> Changed:
    """Turn Dagster's sensor and schedule the way of the settings."""
    switches = []
    try:
        for kind, name in NIGHT_SWITCHES:
            switches.append(turn(place.dagster_url, kind, name, on=settings.enabled))
    except (DagsterAwayError, LaunchError) as error:
        state = "on" if settings.enabled else "off"
        note = f"the setting is kept, and every night looks at it; to turn Dagster's sensor and schedule {state}, too: "
        return Changed(settings=settings, switches=tuple(switches), note=f"{note}{error.problem} -> {error.cure}")
    return Changed(settings=settings, switches=tuple(switches))
