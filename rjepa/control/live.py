"""How the answers of late did, release by release, from the windows that the service's processes write. Read only.

Whether what is served fell behind what it replaced, and going back where it did, is `rjepa.living.health`'s matter.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from pydantic import Field

from rjepa.control.place import Place
from rjepa.control.weights import served_release
from rjepa.living.health import Health, look_at_health
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
    answers, errors = sum(one.answers for one in windows), sum(one.errors for one in windows)
    down = sum(one.thumbs_down for one in windows)
    votes = down + sum(one.thumbs_up for one in windows)
    return LiveFigures(
        release_id=release_id,
        hours=hours,
        answers=answers,
        errors=errors,
        error_rate=_share(errors, answers + errors),
        mean_energy=_share(sum(one.energy_sum for one in windows), sum(one.energies for one in windows)),
        unfamiliar_share=_share(sum(one.unfamiliar for one in windows), answers),
        votes=votes,
        thumbs_down_share=_share(down, votes),
    )


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
