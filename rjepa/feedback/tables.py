"""The tables of feedback. What they hold is read and written by the other modules of this room."""

from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Connection, Float, Integer, String, Table, Text, event, text

from rjepa.database import METADATA

ID_LENGTH: Final = 80
"""Characters of an answer's id: a prefix and 32 hexadecimal digits."""
OWNER_LENGTH: Final = 300
"""Characters of a client's name: `token:` and the subject of a token, which may be long."""
USER_LENGTH: Final = 32
"""Characters of the keyed hash that stands for an end user."""
WORKSPACE_LENGTH: Final = 64

SECRETS: Final = Table(
    "feedback_secrets",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("value", String(64), nullable=False, comment="256 random bits, in hex"),
)

INTERACTIONS: Final = Table(
    "feedback_interactions",
    METADATA,
    Column("interaction_id", String(ID_LENGTH), primary_key=True),
    Column("client", String(OWNER_LENGTH), nullable=False, index=True, comment="whom the answer was given to"),
    Column("end_user", String(USER_LENGTH), nullable=False, comment="keyed hash of the client's word for its user"),
    Column("workspace", String(WORKSPACE_LENGTH), nullable=False),
    Column("llm_tag", String(64), nullable=False),
    Column("release_id", String(64), nullable=False),
    Column("mode", String(32), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("p_correct", Float),
    Column("answered_at_ms", BigInteger, nullable=False),
    Column("kept_at_ms", BigInteger, nullable=False, index=True),
    Column("consent", String(32), nullable=False, comment="version of the words that were agreed to"),
    Column("redactions", Text, nullable=False, comment="how many of which kind were taken out, as JSON"),
    Column("content", Text, comment="question and answer, redacted, as JSON; none once it is deleted"),
    Column("deleted_at_ms", BigInteger),
)

VOTES: Final = Table(
    "feedback_votes",
    METADATA,
    Column("interaction_id", String(ID_LENGTH), primary_key=True),
    Column("client", String(OWNER_LENGTH), nullable=False, index=True),
    Column("end_user", String(USER_LENGTH), nullable=False),
    Column("llm_tag", String(64), nullable=False),
    Column("release_id", String(64), nullable=False),
    Column("mode", String(32), nullable=False),
    Column("vote", String(8), comment="up, down, or none where only a comment was made"),
    Column("comment", Text, comment="redacted; kept with consent alone"),
    Column("voted_at_ms", BigInteger, nullable=False, index=True),
)

REVIEWS: Final = Table(
    "feedback_reviews",
    METADATA,
    Column("interaction_id", String(ID_LENGTH), primary_key=True),
    Column("decision", String(16), nullable=False, comment="accept, reject or skip"),
    Column("reviewer", String(OWNER_LENGTH), nullable=False),
    Column("reviewed_at_ms", BigInteger, nullable=False),
)

OPT_OUTS: Final = Table(
    "feedback_opt_outs",
    METADATA,
    Column("client", String(OWNER_LENGTH), primary_key=True),
    Column("end_user", String(USER_LENGTH), primary_key=True, comment="empty: all that the client sends"),
    Column("since_ms", BigInteger, nullable=False),
)

WORKSPACES: Final = Table(
    "feedback_workspaces",
    METADATA,
    Column("workspace", String(WORKSPACE_LENGTH), primary_key=True),
    Column("include_user_data", Boolean, nullable=False),
)

MEMBERS: Final = Table(
    "feedback_members",
    METADATA,
    Column("client", String(OWNER_LENGTH), primary_key=True),
    Column("workspace", String(WORKSPACE_LENGTH), nullable=False),
)

AUDIT: Final = Table(
    "feedback_audit",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", String(OWNER_LENGTH), nullable=False),
    Column("what", String(32), nullable=False),
    Column("interaction_id", String(ID_LENGTH), index=True),
    Column("details", Text, nullable=False, comment="JSON, never of content"),
)

_SQLITE_GUARD: Final = tuple(
    f"CREATE TRIGGER feedback_audit_no_{word} BEFORE {word.upper()} ON feedback_audit "
    "BEGIN SELECT RAISE(ABORT, 'feedback_audit is append-only'); END"
    for word in ("update", "delete")
)
_POSTGRES_GUARD: Final = (
    "CREATE OR REPLACE FUNCTION feedback_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
    "BEGIN RAISE EXCEPTION 'feedback_audit is append-only'; END $$",
    "CREATE TRIGGER feedback_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON feedback_audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION feedback_audit_refuse()",
)


@event.listens_for(AUDIT, "after_create")
def _guard(table: Table, connection: Connection, **_: Any) -> None:
    """Let the database itself refuse to change or remove what was audited."""
    statements = _SQLITE_GUARD if connection.dialect.name == "sqlite" else _POSTGRES_GUARD
    for statement in statements:
        connection.execute(text(statement))
