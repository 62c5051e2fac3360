"""Which limit keeps a night from beginning, and how fast it may learn. Pure: settings and past nights in, a word out.

The settings themselves are `settings`, past nights `attempts`. Whether what a night made is served, the gate decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rjepa.errors import RjepaError
from rjepa.living.attempts import Attempt, Trigger
from rjepa.living.settings import LearningSettings
from rjepa.moments import HOUR_MS, MINUTE_MS, to_iso

LimitName = Literal["enabled", "max_failures", "cooldown_minutes", "max_attempts", "min_interactions"]
"""Names of the settings that may refuse a night."""

_BEGUN: Final = ("running", "promoted", "refused")
"""Nights that count against `max_attempts`: one that failed is gone on with, and failures have a limit of their own."""

_MOST_DECAYS: Final = 3
"""Refusals in a row that lower the rate. Most say that too few problems were judged, and nothing of the rate: without
an end to it a quiet month would leave nothing to learn with."""


class LimitedError(RjepaError):
    """A limit keeps a night from beginning."""


@dataclass(frozen=True)
class Limited:
    """The limit that refuses a night, its value, and what was found against it."""

    limit: LimitName
    value: float
    found: float
    problem: str
    cure: str

    def error(self) -> LimitedError:
        """The same as an error."""
        return LimitedError(self.problem, cure=self.cure)


@dataclass(frozen=True)
class Offer:
    """What a night would learn from."""

    accepted: int
    """interactions that are accepted and not learnt from yet"""
    withdrawn: int
    """problems of the served release's version that must not be learnt from any more"""


def learning_rate(settings: LearningSettings, attempts: Sequence[Attempt], selection: str) -> float:
    """AdamW's rate of the next night: the setting, at most its ceiling, times the decay for each of the first three
    refusals in a row.

    A refusal of the same selection does not count: who begins that night again offers the same challenger, whose
    evidence is carried to another sealed set, and at another rate it would be another challenger.

    Args:
        attempts: past nights, newest first.
        selection: hash of what the night learns from.
    """
    rate = min(settings.learning_rate, settings.learning_rate_ceiling)
    others = [attempt for attempt in attempts if attempt.selection != selection]
    return rate * settings.learning_rate_decay ** min(refusals_in_a_row(others), _MOST_DECAYS)


def refusals_in_a_row(attempts: Sequence[Attempt]) -> int:
    """Nights that the gate refused since it promoted one; others (killed, failed, limited) do not count."""
    count = 0
    for attempt in attempts:
        if attempt.outcome == "promoted":
            break
        count += attempt.outcome == "refused"
    return count


def find_limit(
    settings: LearningSettings,
    offer: Offer,
    attempts: Sequence[Attempt],
    now_ms: int,
    *,
    trigger: Trigger,
    rolled_back_ms: int | None = None,
) -> Limited | None:
    """The first limit that refuses a night now; None where it may begin.

    Args:
        attempts: past nights, newest first.
        trigger: a person may begin a night where nights do not begin by themselves, and forgetting needs no new data.
        rolled_back_ms: when a release was last rolled back without a person; None for never.
    """
    if trigger in ("schedule", "sensor") and not settings.enabled:
        return Limited(
            "enabled",
            0,
            0,
            "nights do not begin by themselves here: the setting enabled is off",
            "POST /v1/learning/control with enable, or begin one yourself: rjepa retrain",
        )
    since = now_ms - int(settings.failure_window_minutes * MINUTE_MS)
    failures = [one for one in attempts if one.outcome == "failed" and (one.ended_at_ms or 0) > since]
    if len(failures) >= settings.max_failures:
        free = to_iso((failures[settings.max_failures - 1].ended_at_ms or 0) + now_ms - since)
        return Limited(
            "max_failures",
            settings.max_failures,
            len(failures),
            f"{len(failures)} nights failed within {settings.failure_window_minutes:g} minutes, max_failures is "
            f"{settings.max_failures}; the last one: {failures[0].text}",
            f"mend that first; from {free} on a night may begin again",
        )
    if rolled_back_ms is not None and now_ms - rolled_back_ms < settings.cooldown_minutes * MINUTE_MS:
        free = to_iso(rolled_back_ms + int(settings.cooldown_minutes * MINUTE_MS))
        minutes = (now_ms - rolled_back_ms) / MINUTE_MS
        return Limited(
            "cooldown_minutes",
            settings.cooldown_minutes,
            minutes,
            f"a release was rolled back {minutes:.0f} minutes ago because its live health fell, "
            f"cooldown_minutes is {settings.cooldown_minutes:g}",
            f"look at why it fell; from {free} on a night may begin",
        )
    window = now_ms - int(settings.window_hours * HOUR_MS)
    begun = [one for one in attempts if one.outcome in _BEGUN and one.began_at_ms > window]
    if len(begun) >= settings.max_attempts:
        free = to_iso(begun[settings.max_attempts - 1].began_at_ms + now_ms - window)
        return Limited(
            "max_attempts",
            settings.max_attempts,
            len(begun),
            f"{len(begun)} nights began within {settings.window_hours:g} hours, max_attempts is "
            f"{settings.max_attempts}",
            f"from {free} on a night may begin; or raise max_attempts",
        )
    if trigger != "forget" and not offer.withdrawn and offer.accepted < settings.min_interactions:
        return Limited(
            "min_interactions",
            settings.min_interactions,
            offer.accepted,
            f"{offer.accepted} new interactions are accepted, min_interactions is {settings.min_interactions}",
            "wait for more, review those that wait (rjepa feedback review), or lower min_interactions",
        )
    return None
