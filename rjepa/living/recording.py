"""Whether a night should begin by itself, and the record of why one does not. Planning itself is in `night`."""

from dataclasses import dataclass
from typing import Final

from rjepa.database import Database
from rjepa.home import Home
from rjepa.living.attempts import Trigger, list_attempts, refuse
from rjepa.living.health import last_automatic_rollback
from rjepa.living.night import NoNight, Plan, plan_night

_ENDS_BY_ITSELF: Final = ("max_failures", "cooldown_minutes", "max_attempts")
"""Limits that time lifts, without any new feedback."""


@dataclass(frozen=True)
class Look:
    """What a sensor finds: whether a night should begin by itself, and why."""

    key: str | None
    """names the night by what it learns and how often that failed; None where none should begin"""
    text: str
    waits: bool
    """whether time alone may change the answer"""


def plan_and_record(home: Home, database: Database, llm_tag: str, trigger: Trigger) -> Plan | NoNight:
    """The plan of a night. Where none begins, that is written down with the limit and its value, once.

    Raises:
        Errors as `plan_night`.
    """
    rolled_back = last_automatic_rollback(home, llm_tag)
    found = plan_night(home, database, llm_tag, trigger=trigger, rolled_back_ms=rolled_back)
    if isinstance(found, NoNight):
        facts = {} if found.limit is None else {"limit_name": found.limit.limit, "limit_value": found.limit.value}
        chosen = found.selection
        refuse(database, llm_tag, trigger, chosen.sha256, len(chosen.accepted), found.outcome, found.text, **facts)
    return found


def look(home: Home, database: Database, llm_tag: str, *, trigger: Trigger) -> Look:
    """Plan a night as a sensor does. The same selection has the same key, until a night of it fails.

    Raises:
        Errors as `plan_night`.
    """
    found = plan_and_record(home, database, llm_tag, trigger)
    if isinstance(found, NoNight):
        return Look(None, found.text, waits=found.limit is not None and found.limit.limit in _ENDS_BY_ITSELF)
    selection = found.selection.sha256
    failed = sum(
        attempt.outcome == "failed" and attempt.selection == selection for attempt in list_attempts(database, llm_tag)
    )
    return Look(f"{selection}:{found.served}:{failed}", found.describe(), waits=False)
