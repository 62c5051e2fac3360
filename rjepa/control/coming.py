"""Whether a night may begin now, and what is missing to it. Planning one is `rjepa.living.night`'s matter."""

from functools import lru_cache
from typing import Final, Literal

from pydantic import Field

from rjepa.control.place import Place
from rjepa.database import Database
from rjepa.errors import RjepaError
from rjepa.living.attempts import Trigger, list_attempts
from rjepa.living.health import last_automatic_rollback
from rjepa.living.night import Hindrance, NoNight, plan_night
from rjepa.living.settings import LearningSettings
from rjepa.living.watching import feedback_state
from rjepa.values import FrozenValue

_MINUTE_MS: Final = 60_000
"""Limits of time are looked at again so often. A plan reads all feedback: a page that asks every second must not."""


class NextNight(FrozenValue):
    """What a night would have to learn from, and the limit that keeps it from beginning now."""

    may_begin: bool
    outlook: Literal["may_begin", "not_possible"] | Hindrance = Field(description="the same and its reason, in a word")
    why: str = Field(description="what it would do, or why it does not begin")
    accepted: int | None = Field(None, description="new interactions that are accepted; None where nothing is served")
    needed: int = Field(description="the setting min_interactions")
    missing: int | None = Field(None, description="accepted interactions that are still missing")
    limit: str | None = Field(None, description="the setting that refuses a night now")
    limit_value: float | None = None


def read_next_night(place: Place, database: Database, settings: LearningSettings) -> NextNight:
    """Whether a night may begin, by itself where learning is on and by a person's wish where it is off."""
    trigger: Trigger = "schedule" if settings.enabled else "person"
    nights = list_attempts(database, place.llm_tag, limit=1)
    with database.reading() as connection:
        minute = database.now_ms(connection) // _MINUTE_MS
    try:
        state = feedback_state(place.home, database, place.llm_tag)
        mark = f"{state} {nights[0].model_dump_json() if nights else ''} {minute}"
        return _plan(place, settings, trigger, mark)
    except RjepaError as error:
        return NextNight(
            may_begin=False,
            outlook="not_possible",
            why=f"{error.problem} -> {error.cure}",
            needed=settings.min_interactions,
        )


@lru_cache(maxsize=4)
def _plan(place: Place, settings: LearningSettings, trigger: Trigger, mark: str) -> NextNight:
    """What a night would do now. Planning reads all feedback, so the result is cached.

    Args:
        mark: changes when feedback, settings or nights have changed, and once a minute; an equal mark is answered from
            the cache.
    """
    with place.open_database() as database:
        found = plan_night(
            place.home,
            database,
            place.llm_tag,
            trigger=trigger,
            rolled_back_ms=last_automatic_rollback(place.home, place.llm_tag),
        )
    accepted = len(found.selection.accepted)
    limit = found.limit if isinstance(found, NoNight) else None
    return NextNight(
        may_begin=not isinstance(found, NoNight),
        outlook=found.kind if isinstance(found, NoNight) else "may_begin",
        why=found.text if isinstance(found, NoNight) else found.describe(),
        accepted=accepted,
        needed=settings.min_interactions,
        missing=max(0, settings.min_interactions - accepted),
        limit=None if limit is None else limit.limit,
        limit_value=None if limit is None else limit.value,
    )
