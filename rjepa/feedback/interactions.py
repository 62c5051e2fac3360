"""Keep an answer with its question, find it, export it, delete it: in the database, durable when the call returns."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, text, update

from rjepa.database import Database
from rjepa.errors import InvalidInputError
from rjepa.feedback.audit import note
from rjepa.feedback.consent import CONSENT_VERSION, is_opted_out, workspace_of
from rjepa.feedback.records import Content, Given, Interaction, NotKeptError, OptedOutError, Owner
from rjepa.feedback.redaction import MAX_LENGTH, Redacted, redact
from rjepa.feedback.tables import INTERACTIONS, REVIEWS, VOTES
from rjepa.feedback.votes import find_vote
from rjepa.reasoning.answer import CandidateReport

_GONE = "its id is that of an answer, as in the reply (chatcmpl-..., resp_...)"


def keep(database: Database, given: Given) -> Interaction:
    """Keep an answer whose owner consents: redacted, and durable when this returns. Keeping it again changes nothing.

    Raises:
        OptedOutError: the owner opted out before.
        NotKeptError: it was kept and deleted: what was deleted does not come back.
        InvalidInputError: a text of it is too long to be looked through.
        ValueError: it is not kept yet, and comes without its words.
    """
    known = find(database, given.interaction_id)
    if known is not None:
        return _standing(known)
    if given.content is None:
        raise ValueError("nothing to keep")
    if is_opted_out(database, given.owner):
        raise OptedOutError(
            "nothing is kept, as its owner opted out", cure="take the opt-out back first: DELETE /v1/me/opt-out"
        )
    content, redactions = redact_content(given.content)

    def write(connection: Connection) -> Interaction:
        standing = _read(connection, INTERACTIONS.c.interaction_id == given.interaction_id)
        if standing:
            return standing[0]
        now_ms = database.now_ms(connection)
        connection.execute(
            insert(INTERACTIONS).values(
                interaction_id=given.interaction_id,
                client=given.owner.client,
                end_user=given.owner.end_user,
                workspace=workspace_of(connection, given.owner.client),
                llm_tag=given.llm_tag,
                release_id=given.release_id,
                mode=given.mode,
                seed=given.seed,
                p_correct=given.p_correct,
                answered_at_ms=given.answered_at_ms,
                kept_at_ms=now_ms,
                consent=CONSENT_VERSION,
                redactions=json.dumps(redactions),
                content=content.model_dump_json(),
            )
        )
        note(connection, now_ms, given.owner.name, "kept", given.interaction_id, consent=CONSENT_VERSION)
        return _read(connection, INTERACTIONS.c.interaction_id == given.interaction_id)[0]

    return _standing(database.transact(write))


def redact_content(content: Content) -> tuple[Content, dict[str, int]]:
    """A copy without the personal data that has a form, and how much of which kind was taken out.

    Raises:
        InvalidInputError: a text is too long to be looked through.
    """
    cleaned: dict[str, Redacted] = {}

    def look(words: str) -> Redacted:
        if len(words) > MAX_LENGTH:
            raise InvalidInputError(
                f"a text of {len(words)} characters cannot be kept: {MAX_LENGTH} are looked through at most",
                cure="give the vote without consent; nothing of the text is kept then",
            )
        if words not in cleaned:  # candidates often share their steps
            cleaned[words] = redact(words)
        return cleaned[words]

    def clean(words: str) -> str:
        return look(words).text

    found: Counter[str] = Counter()
    for words in (*(message.content for message in content.messages), content.text):
        found.update(look(words).found)
    candidates = tuple(
        # Scored tokens are the text again, in pieces.
        candidate.model_copy(update=_cleaned(candidate, clean) | {"scored_tokens": None})
        for candidate in content.candidates
    )
    messages = tuple(message.model_copy(update={"content": clean(message.content)}) for message in content.messages)
    changed = _cleaned(content, clean) | {"messages": messages, "candidates": candidates}
    return content.model_copy(update=changed), dict(found)


def find(database: Database, interaction_id: str) -> Interaction | None:
    """An interaction or its tombstone; None where it was never kept."""
    with database.reading() as connection:
        found = _read(connection, INTERACTIONS.c.interaction_id == interaction_id)
    return found[0] if found else None


def find_own(database: Database, owner: Owner, interaction_id: str) -> Interaction:
    """One's own interaction, or its tombstone.

    Raises:
        NotKeptError: it is not kept, or is someone else's.
    """
    found = find(database, interaction_id)
    if found is None or not owner.owns(found.owner):
        raise NotKeptError(f"nothing is kept of the answer {interaction_id[:80]!r}", cure=_GONE)
    return found


def list_interactions(
    database: Database, owner: Owner | None = None, *, since_ms: int = 0, limit: int | None = None
) -> list[Interaction]:
    """What is kept, tombstones included, oldest first: of one owner (a client's users with it), or of all.

    Args:
        limit: the newest so many.
    """
    query = _of(owner) & (INTERACTIONS.c.kept_at_ms >= since_ms)
    with database.reading() as connection:
        return _read(connection, query, limit)


def export(database: Database, owner: Owner | None = None) -> Iterator[str]:
    """Everything that is kept of an owner, or of all, as lines of JSON: interactions with votes, and tombstones."""
    with database.reading() as connection:
        for interaction in _read(connection, _of(owner)):
            vote = find_vote(connection, interaction.interaction_id)
            yield json.dumps(shown(interaction) | {"vote": vote and vote.vote, "comment": vote and vote.comment}) + "\n"


def shown(interaction: Interaction) -> dict[str, Any]:
    """An interaction as JSON values, for its owner."""
    content = interaction.content
    return {
        "id": interaction.interaction_id,
        "object": "interaction",
        "owner": interaction.owner.name,
        "workspace": interaction.workspace,
        "model": interaction.llm_tag,
        "release": interaction.release_id,
        "mode": interaction.mode,
        "seed": interaction.seed,
        "p_correct": interaction.p_correct,
        "answered_at_ms": interaction.answered_at_ms,
        "kept_at_ms": interaction.kept_at_ms,
        "consent": interaction.consent,
        "redactions": interaction.redactions,
        "content": None if content is None else content.model_dump(mode="json"),
        "deleted_at_ms": interaction.deleted_at_ms,
    }


def delete(database: Database, owner: Owner, interaction_id: str) -> Interaction:
    """Delete one's own interaction; its id and time stay, as a tombstone. Deleting it again changes nothing.

    Raises:
        NotKeptError: it is not kept, or is someone else's.
    """
    find_own(database, owner, interaction_id)
    delete_as(database, owner.name, INTERACTIONS.c.interaction_id == interaction_id)
    return find_own(database, owner, interaction_id)


def delete_all(database: Database, owner: Owner, who: str | None = None) -> int:
    """Delete everything of an owner; how many there were. `who` does it, where it is not the owner."""
    return delete_as(database, who or owner.name, _of(owner))


def delete_as(database: Database, who: str, which: ColumnElement[bool]) -> int:
    """Delete interactions in one transaction: their content, and the comments on them. Votes stay, as figures."""

    def write(connection: Connection) -> int:
        query = select(INTERACTIONS.c.interaction_id).where(which, INTERACTIONS.c.content.is_not(None))
        ids = list(connection.execute(query).scalars())
        now_ms = database.now_ms(connection)
        for interaction_id in ids:
            mine = INTERACTIONS.c.interaction_id == interaction_id
            connection.execute(update(INTERACTIONS).where(mine).values(content=None, deleted_at_ms=now_ms))
            connection.execute(update(VOTES).where(VOTES.c.interaction_id == interaction_id).values(comment=None))
            connection.execute(REVIEWS.delete().where(REVIEWS.c.interaction_id == interaction_id))
            note(connection, now_ms, who, "deleted", interaction_id)
        return len(ids)

    number = database.transact(write)
    if number and database.is_sqlite:
        _forget_the_log(database)
    return number


def _forget_the_log(database: Database) -> None:
    """Move SQLite's log into the file and empty it: it still holds pages as they were. Readers may put that off."""
    with database.engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))


def _standing(interaction: Interaction) -> Interaction:
    if interaction.content is None:
        raise NotKeptError(
            f"the answer {interaction.interaction_id} was kept and deleted, and does not come back",
            cure="ask again; the new answer has an id of its own",
        )
    return interaction


def _of(owner: Owner | None) -> ColumnElement[bool]:
    if owner is None:
        return INTERACTIONS.c.interaction_id.is_not(None)
    mine = INTERACTIONS.c.client == owner.client
    return mine & (INTERACTIONS.c.end_user == owner.end_user) if owner.end_user else mine


def _read(connection: Connection, which: ColumnElement[bool], limit: int | None = None) -> list[Interaction]:
    columns = (INTERACTIONS.c.kept_at_ms, INTERACTIONS.c.interaction_id)
    query = select(INTERACTIONS).where(which).order_by(*(column.desc() for column in columns))
    rows = connection.execute(query if limit is None else query.limit(limit)).mappings().all()
    return [_interaction(row) for row in reversed(rows)]


def _interaction(row: Mapping[Any, Any]) -> Interaction:
    values = {str(name): value for name, value in row.items()}
    content = values.pop("content")
    return Interaction(
        owner=Owner(values.pop("client"), values.pop("end_user")),
        redactions=json.loads(values.pop("redactions")),
        content=None if content is None else Content.model_validate_json(content),
        **values,
    )


def _cleaned(chain: Content | CandidateReport, clean: Callable[[str], str]) -> dict[str, Any]:
    answer = chain.final_answer
    return {
        "text": clean(chain.text),
        "steps": type(chain.steps)(clean(step) for step in chain.steps),
        "final_answer": None if answer is None else clean(answer),
    }
