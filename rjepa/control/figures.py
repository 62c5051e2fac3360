"""Figures of learning over time: nights and how they ended, feedback, releases. Read only."""

from collections import Counter

from pydantic import Field

from rjepa.control.place import Place
from rjepa.living.attempts import Attempt, list_attempts
from rjepa.living.watching import feedback_counts
from rjepa.monitoring.releases import ReleaseFigures, read_releases
from rjepa.releases.history import Action
from rjepa.values import FrozenValue

_SHOWN_NIGHTS = 30


class LearningFigures(FrozenValue):
    """What GET /v1/learning/metrics says of a home."""

    nights: dict[str, int] = Field(description="by outcome: promoted, refused, failed, limited, nothing_new, running")
    moves: dict[Action, int] = Field(description="of the pointer: promotions, rollbacks, and refusals of the gate")
    feedback: dict[str, int] = Field(description="answers kept and deleted, votes, decisions of operators")
    newest_nights: tuple[Attempt, ...] = Field(description="newest first")
    releases: tuple[ReleaseFigures, ...] = Field(description="how good each was found to be, oldest first")


def read_figures(place: Place) -> LearningFigures:
    """Everything that can be counted.

    Raises:
        StorageError, CorruptError: the database cannot be read.
    """
    with place.open_database() as database:
        nights, counts = list_attempts(database, place.llm_tag), feedback_counts(database)
    releases = read_releases(place.home, place.llm_tag)
    return LearningFigures(
        nights=dict(Counter(night.outcome for night in nights)),
        moves=dict(Counter(move.action for move in releases.moves)),
        feedback=counts,
        newest_nights=tuple(nights[:_SHOWN_NIGHTS]),
        releases=releases.releases,
    )
