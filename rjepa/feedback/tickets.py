"""Proof that an answer was given: a short signed text that goes with it, which every process of a home can check.

A process keeps the words of its last answers in memory for a while. Feedback that comes to another process, or after a
restart, brings the ticket of the answer, and where it is to be kept also the reply and the messages: the ticket has the
hashes of both, so that nothing is kept under an answer's id but what was asked and answered.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import replace
from typing import Any, Final

from pydantic import Field, ValidationError
from sqlalchemy import Connection, insert, select

from rjepa.database import Database
from rjepa.errors import InvalidInputError
from rjepa.feedback.records import Content, Given, Owner
from rjepa.feedback.tables import ID_LENGTH, OWNER_LENGTH, SECRETS, USER_LENGTH
from rjepa.reasoning.question import hash_messages
from rjepa.values import FrozenValue

_NAME: Final = "tickets"
_PREFIX: Final = "t1"
"""Says which form the rest has."""
MAX_TICKET: Final = 2000
"""Characters of a ticket: more than its fields fill, and few enough to hash for anybody who sends one."""
_WRONG: Final = "send the ticket as the reply has it, in rjepa.ticket, with the id of that reply"


class Ticket(FrozenValue):
    """What a ticket says of the answer that it belongs to."""

    id: str = Field(min_length=1, max_length=ID_LENGTH)
    client: str = Field(max_length=OWNER_LENGTH)
    end_user: str = Field(max_length=USER_LENGTH)
    llm_tag: str
    release_id: str
    mode: str
    seed: int
    p_correct: float | None
    answered_at_ms: int
    question_sha256: str = Field(description="of the messages, as in the receipt")
    content_sha256: str = Field(description="of `hash_content`")

    @property
    def given(self) -> Given:
        """The answer as far as the ticket knows it: without its words."""
        return Given(
            interaction_id=self.id,
            owner=Owner(self.client, self.end_user),
            llm_tag=self.llm_tag,
            release_id=self.release_id,
            mode=self.mode,
            seed=self.seed,
            p_correct=self.p_correct,
            answered_at_ms=self.answered_at_ms,
        )


def home_secret(database: Database) -> bytes:
    """The secret of a home, which all of its processes share; drawn the first time that one asks."""

    def read(connection: Connection) -> str | None:
        return connection.execute(select(SECRETS.c.value).where(SECRETS.c.name == _NAME)).scalar()

    def draw(connection: Connection) -> str:
        found = read(connection)
        if found is None:
            found = secrets.token_hex(32)
            connection.execute(insert(SECRETS).values(name=_NAME, value=found))
        return found

    with database.reading() as connection:
        found = read(connection)
    return bytes.fromhex(found or database.transact(draw))


def hash_user(secret: bytes, user: str) -> str:
    """What stands for a client's own word for one of its users, which may be an address or a name: a keyed hash."""
    digest = hmac.new(secret, b"user:" + user.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
    return digest[:USER_LENGTH]


def sign(secret: bytes, given: Given) -> str:
    """The ticket of an answer.

    Raises:
        ValueError: it comes without its words.
    """
    if given.content is None:
        raise ValueError("a ticket is made of an answer with its words")
    ticket = Ticket(
        id=given.interaction_id,
        client=given.owner.client,
        end_user=given.owner.end_user,
        llm_tag=given.llm_tag,
        release_id=given.release_id,
        mode=given.mode,
        seed=given.seed,
        p_correct=given.p_correct,
        answered_at_ms=given.answered_at_ms,
        question_sha256=hash_messages(given.content.messages),
        content_sha256=hash_content(given.content),
    )
    body = _encode(ticket.model_dump_json().encode())
    return f"{_PREFIX}.{body}.{_seal(secret, body)}"


def read_ticket(secret: bytes, text: str, interaction_id: str) -> Ticket:
    """What a ticket says, if it is ours and of that answer.

    Raises:
        InvalidInputError: it is not.
    """
    prefix, _, rest = text.partition(".")
    body, _, seal = rest.partition(".")
    right = hmac.compare_digest(_seal(secret, body).encode(), seal.encode("utf-8", "surrogatepass"))
    if prefix != _PREFIX or len(text) > MAX_TICKET or not right:
        raise InvalidInputError("the ticket was not made by this service", cure=_WRONG)
    try:
        ticket = Ticket.model_validate_json(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValidationError, binascii.Error, ValueError):
        raise InvalidInputError("the ticket cannot be read by this version of R-JEPA", cure=_WRONG) from None
    if ticket.id != interaction_id:
        raise InvalidInputError("the ticket belongs to another answer", cure=_WRONG)
    return ticket


def bring_content(ticket: Ticket, content: Content) -> Given:
    """The answer of a ticket with the words that somebody brought, if they are the ones that were given.

    Raises:
        InvalidInputError: they are others.
    """
    right = hash_messages(content.messages) == ticket.question_sha256, hash_content(content) == ticket.content_sha256
    if not all(right):
        which = "reply" if right[0] else "conversation"
        raise InvalidInputError(
            f"the {which} is not the one of that answer",
            cure="send messages as they were asked and the whole reply as it came",
        )
    return replace(ticket.given, content=content)


def hash_content(content: Content) -> str:
    """The hash of an answer, the same after any client has read it as JSON and written it again."""
    left_out: dict[str, Any] = {"messages": True, "candidates": {"__all__": {"scored_tokens"}}}
    text = json.dumps(_plain(content.model_dump(mode="json", exclude=left_out)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """JavaScript writes 1.0 as 1, and is right: both are one number."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _seal(secret: bytes, body: str) -> str:
    digest = hmac.new(secret, b"ticket:" + body.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return _encode(digest[:24])


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
