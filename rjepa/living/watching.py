"""Whether feedback, releases or settings changed, found by counting rows: a sensor may ask every minute.

What of it is worth learning is decided by `night.plan_night`, which reads everything.
"""

from collections.abc import Sequence

from sqlalchemy import func, select

from rjepa.database import Database
from rjepa.feedback.tables import INTERACTIONS, OPT_OUTS, REVIEWS, VOTES, WORKSPACES
from rjepa.files import sha256_json
from rjepa.home import Home
from rjepa.living.settings import read_settings
from rjepa.releases.pointer import current_release


def feedback_counts(database: Database) -> dict[str, int]:
    """How many answers are kept (with their words), deleted, voted on and reviewed."""
    wanted = {
        "kept": select(func.count()).select_from(INTERACTIONS).where(INTERACTIONS.c.content.is_not(None)),
        "deleted": select(func.count()).select_from(INTERACTIONS).where(INTERACTIONS.c.content.is_(None)),
        "thumbs_up": select(func.count()).select_from(VOTES).where(VOTES.c.vote == "up"),
        "thumbs_down": select(func.count()).select_from(VOTES).where(VOTES.c.vote == "down"),
        "reviewed": select(func.count()).select_from(REVIEWS),
    }
    with database.reading() as connection:
        return {name: int(connection.execute(query).scalar_one()) for name, query in wanted.items()}


def deleted_interactions(database: Database, wanted: Sequence[str]) -> list[str]:
    """Which of these interactions are tombstones."""
    gone = select(INTERACTIONS.c.interaction_id).where(INTERACTIONS.c.content.is_(None))
    with database.reading() as connection:
        tombstones = {str(row[0]) for row in connection.execute(gone)}
    return sorted(tombstones & set(wanted))


def feedback_state(home: Home, database: Database, llm_tag: str) -> str:
    """A hash that changes whenever something is kept, deleted, voted, reviewed, opted out of or excluded, another
    release is served, or a learning setting changes: a limit that is lowered may let a night begin.
    """
    newest = (INTERACTIONS.c.kept_at_ms, INTERACTIONS.c.deleted_at_ms, VOTES.c.voted_at_ms, REVIEWS.c.reviewed_at_ms)
    with database.reading() as connection:
        moments = [connection.execute(select(func.max(column))).scalar() for column in newest]
        others = [
            connection.execute(select(func.count(), func.max(OPT_OUTS.c.since_ms))).all(),
            connection.execute(select(WORKSPACES).order_by(WORKSPACES.c.workspace)).all(),
        ]
    changes = [*moments, [[list(row) for row in rows] for rows in others]]
    settings = read_settings(database).model_dump()
    return sha256_json([changes, feedback_counts(database), current_release(home, llm_tag), settings])
