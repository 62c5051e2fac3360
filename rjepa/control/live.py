"""How the newest answers did, release by release, from the windows that the service's processes write. Read only.

Whether what is served fell behind what it replaced, and going back where it did, belongs to `rjepa.living.health`.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from pydantic import Field

from rjepa.control.place import Place
from rjepa.control.weights import served_release
from rjepa.living.health import MEASURES, Health, look_at_health
from rjepa.living.settings import read_settings
from rjepa.living.windows import Window, read_windows
from rjepa.moments import HOUR_MS
from rjepa.values import FrozenValue

_DAY_HOURS: Final = 24


class LiveFigures(FrozenValue):
    """Sums over windows. A share is None where there is nothing that it could be a share of."""

    release_id: str
    hours: int = Field(description="how far back")
    answers: int
    errors: int = Field(description="questions that failed by the service's fault")
    error_rate: float | None = Field(description="of answers and errors")
    mean_energy: float | None = Field(description="of answers that have one, over their steps")
    unfamiliar_share: float | None = Field(
        description="of answers: to problems of a kind that the release does not know"
    )
    votes: int
    thumbs_down_share: float | None = Field(description="of votes")


class LearningHealth(FrozenValue):
    """What GET /v1/learning/health says of a home."""

    served: str | None
    comparison: Health = Field(description="of what is served with what it replaced, and what follows from it")
    automatic_rollback: bool = Field(
        description="the setting: whether a release whose health falls is replaced by itself"
    )
    last_hour: tuple[LiveFigures, ...]
    last_day: tuple[LiveFigures, ...]


def read_health(place: Place) -> LearningHealth:
    """The last hour and the last day.

    Raises:
        StorageError, CorruptError: the database cannot be read.
    """
    with place.open_database() as database:
        with database.reading() as connection:
            now_ms = database.now_ms(connection)
        settings = read_settings(database)
        comparison = look_at_health(place.home, database, place.llm_tag)
        windows = read_windows(database, place.llm_tag, max(0, now_ms - _DAY_HOURS * HOUR_MS))
    return LearningHealth(
        served=served_release(place),
        comparison=comparison,
        automatic_rollback=settings.automatic_rollback,
        last_hour=_by_release([one for one in windows if one.ended_at_ms >= now_ms - HOUR_MS], 1),
        last_day=_by_release(windows, _DAY_HOURS),
    )


def _by_release(windows: Iterable[Window], hours: int) -> tuple[LiveFigures, ...]:
    by_release: dict[str, list[Window]] = defaultdict(list)
    for window in windows:
        by_release[window.release_id].append(window)
    return tuple(_sum(release_id, own, hours) for release_id, own in by_release.items())


def _sum(release_id: str, windows: list[Window], hours: int) -> LiveFigures:
    counts = {measure.name: measure.counts(windows) for measure in MEASURES}
    return LiveFigures(
        release_id=release_id,
        hours=hours,
        answers=sum(one.answers for one in windows),
        errors=sum(one.errors for one in windows),
        error_rate=_share(*counts["errors"]),
        mean_energy=_share(sum(one.energy_sum for one in windows), sum(one.energies for one in windows)),
        unfamiliar_share=_share(*counts["unfamiliar"]),
        votes=counts["thumbs_down"][1],
        thumbs_down_share=_share(*counts["thumbs_down"]),
    )


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
