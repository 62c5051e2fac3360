"""Is what is served as healthy as what it replaced? Counts of the live service, and going back where they fell.

Windows of the release that is served (`rjepa.living.windows`) are compared with those of the release before it:

- errors: questions that failed by the service's fault;
- unfamiliar: of the answers that have energies, those to problems whose energies lie beyond what the release was
  calibrated on. Energies of two R-JEPAs have different scales; how often they leave their own is what drifts;
- thumbs down, of the votes.

A sensor looks every minute, so that the test has to hold at every look: the rate before gives a ceiling, and a stake
is bet against "the rate is below it now" (`rjepa.evaluation.betting`). Questions of one client are not independent of
each other, and somebody may want a release to fall: of votes and energies one client has a share that alone decides
nothing (`serving.quality.MOST_OF_ONE`); errors count whoever had them, for they are the service's own. Whether anything
is done is the operator's setting.

It cannot flap: only a release that was promoted is compared, never one that was gone back to; none goes back twice
within the cool-down; and what was gone back from is not served by the night again (`rjepa.releases.publish`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import numpy as np
from pydantic import Field

from rjepa.database import Database, open_database
from rjepa.errors import RjepaError
from rjepa.evaluation.betting import log_wealth
from rjepa.home import Home
from rjepa.living.settings import read_settings
from rjepa.living.windows import Window, read_windows
from rjepa.moments import DAY_MS, MINUTE_MS
from rjepa.releases.history import AUTOMATIC, Move, history
from rjepa.releases.pointer import current_release, rollback
from rjepa.tails import highest_share
from rjepa.values import FrozenValue

LEVEL: Final = 0.01
"""Chance that a release which is as healthy as the one before is ever taken back: over all its looks and measures."""
PROBATION_DAYS: Final = 7
"""How long a promoted release is watched, and how far back windows of the one before count. Later the questions have
changed more than the release: going back would mend nothing."""
LEAST_BEFORE: Final = 50
"""Questions or votes of the release before from which a rate is taken; with fewer the measure's own ceiling holds."""
LEAST_NOW: Final = 20
"""Questions or votes of the release that is served from which anything is decided, however bad they are."""

_WHY: Final = "live health fell"

Name = Literal["errors", "unfamiliar", "thumbs_down"]
Verdict = Literal["healthy", "fell", "too_few", "not_looked_at"]


@dataclass(frozen=True)
class Measure:
    """A rate that may fall. `margin` more than before is not worth going back for; `usual` is the ceiling of a rate
    that nobody measured before.
    """

    name: Name
    margin: float
    usual: float

    def counts(self, windows: list[Window]) -> tuple[int, int]:
        """Bad ones, and all."""
        answers = sum(window.answers for window in windows)
        if self.name == "errors":
            errors = sum(window.errors for window in windows)
            return errors, answers + errors
        if self.name == "unfamiliar":
            return sum(window.unfamiliar for window in windows), sum(window.energies for window in windows)
        down = sum(window.thumbs_down for window in windows)
        return down, down + sum(window.thumbs_up for window in windows)


MEASURES: Final = (
    Measure("errors", margin=0.02, usual=0.10),
    Measure("unfamiliar", margin=0.05, usual=0.30),
    Measure("thumbs_down", margin=0.05, usual=0.60),
)
"""Two points more errors are a fault that users notice; kinds of questions and moods of voters move by more than
that."""


class Found(FrozenValue):
    """One rate, before and now."""

    name: Name
    before_bad: int
    before_all: int
    now_bad: int
    now_all: int
    ceiling: float = Field(description="the rate before, at its highest that is credible, and the margin on top")
    evidence: float = Field(description="natural logarithm of the evidence that the rate is above the ceiling now")
    needed: float

    @property
    def fell(self) -> bool:
        """Whether it is shown to be worse than before."""
        return self.now_all >= LEAST_NOW and self.evidence >= self.needed

    def describe(self) -> str:
        """The rate in a few words."""
        return (
            f"{self.name.replace('_', ' ')} {self.now_bad} of {self.now_all} (before: {self.before_bad} of "
            f"{self.before_all}; ceiling {100 * self.ceiling:.1f} %, evidence {np.exp(self.evidence):.3g} to 1 of "
            f"{np.exp(self.needed):.0f})"
        )


class Health(FrozenValue):
    """What a look at the live service found, and what was done."""

    llm_tag: str
    release: str | None
    before: str | None = Field(None, description="the release that it replaced")
    since: datetime | None = None
    verdict: Verdict
    found: tuple[Found, ...] = ()
    rolled_back_to: str | None = None
    text: str


def look_at_health(home: Home, database: Database, llm_tag: str) -> Health:
    """Compare what is served with what it replaced. Nothing is changed."""
    current = current_release(home, llm_tag)
    move = _promotion(history(home, llm_tag), current)
    if current is None or move is None:
        text = "nothing is served" if current is None else "what is served was gone back to, or replaced nothing"
        return Health(llm_tag=llm_tag, release=current, verdict="not_looked_at", text=text)
    since = datetime.fromisoformat(move.at)
    since_ms = int(since.timestamp() * 1000)
    facts = {"llm_tag": llm_tag, "release": current, "before": move.source, "since": since}
    with database.reading() as connection:
        now_ms = database.now_ms(connection)
    if now_ms - since_ms > PROBATION_DAYS * DAY_MS:
        return Health(**facts, verdict="not_looked_at", text=f"it is served for more than {PROBATION_DAYS} days")
    windows = read_windows(database, llm_tag, since_ms - PROBATION_DAYS * DAY_MS)
    # A window that was open at the move counts for the release that it names: the service keeps them apart.
    now = [window for window in windows if window.release_id == current and window.ended_at_ms >= since_ms]
    before = [window for window in windows if window.release_id == move.source and window.started_at_ms <= since_ms]
    found = tuple(compare(measure, before, now) for measure in MEASURES)
    fallen = [each for each in found if each.fell]
    if fallen:
        verdict: Verdict = "fell"
    else:
        verdict = "healthy" if any(each.now_all >= LEAST_NOW for each in found) else "too_few"
    return Health(**facts, verdict=verdict, found=found, text="; ".join(each.describe() for each in fallen or found))


def keep_healthy(home: Home, llm_tag: str) -> Health:
    """Look, and go back to the release before where health fell, if the settings allow it and none went back lately.

    Raises:
        RjepaError: the database cannot be used. Where going back fails, the text says so, and what is served stays.
    """
    with open_database(home) as database:
        health = look_at_health(home, database, llm_tag)
        if health.verdict != "fell" or health.before is None:
            return health
        settings = read_settings(database)
        with database.reading() as connection:
            now_ms = database.now_ms(connection)
    if not settings.automatic_rollback:
        return _add_words(health, "nothing is done: automatic_rollback is off")
    last = last_automatic_rollback(home, llm_tag)
    if last is not None and now_ms - last < settings.cooldown_minutes * MINUTE_MS:
        minutes = (now_ms - last) / MINUTE_MS
        return _add_words(health, f"nothing is done: it went back {minutes:.0f} minutes ago (cooldown_minutes)")
    try:
        served = rollback(
            home, llm_tag, health.before, reason=f"{AUTOMATIC}: {_WHY}: {health.text}", leaving=health.release
        )
    except RjepaError as error:
        return _add_words(health, f"it could not go back: {error}")
    return _add_words(health.model_copy(update={"rolled_back_to": served}), f"went back to {served}")


def last_automatic_rollback(home: Home, llm_tag: str) -> int | None:
    """When a release was last taken back without a person, in milliseconds since 1970; None for never."""
    for move in reversed(history(home, llm_tag)):
        if move.is_automatic:
            return int(datetime.fromisoformat(move.at).timestamp() * 1000)
    return None


def _add_words(health: Health, more: str) -> Health:
    return health.model_copy(update={"text": f"{health.text}; {more}"})


def _promotion(moves: list[Move], current: str | None) -> Move | None:
    """The promotion that made the current release what is served, where it replaced another."""
    moved = [move for move in moves if move.action != "refuse"]
    last = moved[-1] if moved else None
    if last is None or last.target != current or last.action != "promote" or last.source is None:
        return None
    return last


def compare(measure: Measure, before: list[Window], now: list[Window]) -> Found:
    """A rate in these windows against the same rate in those.

    Half of a measure's level is for the rate before, which is estimated; half for the bets against the rate now.
    """
    level = LEVEL / len(MEASURES) / 2
    bad, all_of = measure.counts(before)
    if all_of < LEAST_BEFORE:
        ceiling = measure.usual
    else:
        ceiling = min(highest_share(bad, all_of, level) + measure.margin, 0.999)
    now_bad, now_all = measure.counts(now)
    return Found(
        name=measure.name,
        before_bad=bad,
        before_all=all_of,
        now_bad=now_bad,
        now_all=now_all,
        ceiling=ceiling,
        evidence=float(log_wealth(now_bad, now_all - now_bad, ceiling)),
        needed=float(-np.log(level)),
    )
