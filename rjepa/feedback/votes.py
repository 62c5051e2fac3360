"""Votes of owners on their answers: up or down, and a comment. A later vote replaces the earlier, and is audited."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from rjepa.database import Database
from rjepa.errors import InvalidInputError
from rjepa.feedback.audit import note
from rjepa.feedback.records import Given, Owner, Vote, VoteRecord
from rjepa.feedback.redaction import redact
from rjepa.feedback.tables import INTERACTIONS, VOTES

MAX_COMMENT = 4000
"""Characters: a page of text."""


def give_vote(database: Database, given: Given, vote: Vote | None, comment: str | None = None) -> VoteRecord:
    """Keep an owner's vote on an answer; durable when this returns. What is None stays as it was.

    A comment is content: it is kept where the answer itself is, redacted.

    Raises:
        InvalidInputError: a comment on an answer that is not kept, or one that is too long.
    """
    if comment is not None and len(comment) > MAX_COMMENT:
        raise InvalidInputError(f"the comment has {len(comment)} characters", cure=f"say it in {MAX_COMMENT} or fewer")
    clean = None if comment is None else redact(comment).text

    def write(connection: Connection) -> VoteRecord:
        if clean is not None and not _is_kept(connection, given.interaction_id):
            raise InvalidInputError(
                "a comment is kept with consent alone, as the answer itself is",
                cure="send consent: true with it, or leave the comment out",
            )
        now_ms = database.now_ms(connection)
        old = find_vote(connection, given.interaction_id)
        new = VoteRecord(
            interaction_id=given.interaction_id,
            owner=old.owner if old is not None else given.owner,
            llm_tag=given.llm_tag,
            release_id=given.release_id,
            mode=given.mode,
            vote=vote if vote is not None or old is None else old.vote,
            comment=clean if clean is not None or old is None else old.comment,
            voted_at_ms=now_ms,
        )
        if old is None:
            connection.execute(insert(VOTES).values(**_row(new)))
        elif (old.vote, old.comment) == (new.vote, new.comment):
            return old
        else:
            mine = VOTES.c.interaction_id == given.interaction_id
            connection.execute(update(VOTES).where(mine).values(**_row(new)))
        before = old.vote if old is not None else None
        note(
            connection, now_ms, given.owner.name, "voted", given.interaction_id,
            vote=new.vote, before=before, comment=new.comment is not None,
        )  # fmt: skip
        return new

    return database.transact(write)


def find_vote(connection: Connection, interaction_id: str) -> VoteRecord | None:
    """The vote on an answer; None where there is none."""
    row = connection.execute(select(VOTES).where(VOTES.c.interaction_id == interaction_id)).mappings().first()
    return None if row is None else _vote(row)


def list_votes(database: Database, *, since_ms: int = 0) -> list[VoteRecord]:
    """Every vote, of answers that are kept and of others, oldest first."""
    query = select(VOTES).where(VOTES.c.voted_at_ms >= since_ms).order_by(VOTES.c.voted_at_ms, VOTES.c.interaction_id)
    with database.reading() as connection:
        return [_vote(row) for row in connection.execute(query).mappings()]


def _is_kept(connection: Connection, interaction_id: str) -> bool:
    query = select(INTERACTIONS.c.interaction_id).where(
        INTERACTIONS.c.interaction_id == interaction_id, INTERACTIONS.c.content.is_not(None)
    )
    return connection.execute(query).first() is not None


def _row(vote: VoteRecord) -> dict[str, Any]:
    values = dict(vars(vote))
    owner: Owner = values.pop("owner")
    return values | {"client": owner.client, "end_user": owner.end_user}


def _vote(row: Mapping[Any, Any]) -> VoteRecord:
    values = {str(name): value for name, value in row.items()}
    return VoteRecord(owner=Owner(values.pop("client"), values.pop("end_user")), **values)
