"""What operators decide of interactions that no rule settles."""

from sqlalchemy import Connection, insert, select, update

from rjepa.database import Database
from rjepa.feedback.audit import note
from rjepa.feedback.records import Decision, NotKeptError, Review
from rjepa.feedback.tables import INTERACTIONS, REVIEWS


def review(database: Database, interaction_id: str, decision: Decision, reviewer: str) -> Review:
    """Write a decision down; a later one takes its place, and both are audited.

    Raises:
        NotKeptError: there is no such interaction, or it was deleted.
    """

    def write(connection: Connection) -> Review:
        kept = select(INTERACTIONS.c.content).where(INTERACTIONS.c.interaction_id == interaction_id)
        if connection.execute(kept).scalar() is None:
            raise NotKeptError(
                f"nothing is kept of the answer {interaction_id[:80]!r}",
                cure="`rjepa feedback list` shows what is",
            )
        now_ms = database.now_ms(connection)
        made = Review(interaction_id, decision, reviewer, now_ms)
        changed = update(REVIEWS).where(REVIEWS.c.interaction_id == interaction_id).values(**vars(made))
        if not connection.execute(changed).rowcount:
            connection.execute(insert(REVIEWS).values(**vars(made)))
        note(connection, now_ms, reviewer, "reviewed", interaction_id, decision=decision)
        return made

    return database.transact(write)


def list_reviews(database: Database) -> dict[str, Review]:
    """The decision on each interaction that has one."""
    with database.reading() as connection:
        return {row["interaction_id"]: Review(**row) for row in connection.execute(select(REVIEWS)).mappings()}
