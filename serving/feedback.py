"""Routes of feedback: vote and consent; see, export and delete what is kept of oneself, opt out of it.

`rjepa.feedback` decides what is kept and how; answers of this process and their tickets are in `serving.given`.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from rjepa.database import Database
from rjepa.errors import InvalidInputError
from rjepa.feedback.consent import (
    CONSENT,
    CONSENT_VERSION,
    excluded_workspaces,
    is_opted_out,
    opt_in,
    opt_out,
    workspace_of,
)
from rjepa.feedback.interactions import delete, delete_all, export, find, keep, list_interactions, shown
from rjepa.feedback.records import Content, Given, NotKeptError, OutdatedConsentError, Owner, Vote
from rjepa.feedback.tables import ID_LENGTH
from rjepa.feedback.tickets import MAX_TICKET, bring_content, read_ticket
from rjepa.feedback.votes import MAX_COMMENT, find_vote, give_vote
from rjepa.reasoning.conversation import ChatMessage, to_messages
from rjepa.values import Words
from serving.collecting import client_that_counts
from serving.given import FeedbackDesk, desk_of
from serving.schemas import MAX_USER

_NEVER: Final = "feedback is on an answer of this service: send the id of its reply, and with it rjepa.ticket"

router = APIRouter()

User = Annotated[str | None, Query(max_length=MAX_USER, description="one of the client's users; none: all of them")]


class Feedback(BaseModel):
    """What a user says of an answer. Without `consent` nothing of its words is kept, whatever else is sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1, max_length=ID_LENGTH, description="of the reply: chatcmpl-..., resp_..., gen-...")
    vote: Vote | None = Field(None, description="up or down; it replaces the one before")
    comment: Words | None = Field(None, max_length=MAX_COMMENT, description="kept with consent alone")
    consent: StrictBool | None = Field(
        None, description="true: keep question and answer, redacted, to learn from; false: delete what is kept of them"
    )
    consent_version: str | None = Field(None, description="of the words that were shown (GET /v1/me)")
    user: str | None = Field(None, max_length=MAX_USER, description="as in the request that was answered")
    ticket: str | None = Field(None, max_length=MAX_TICKET, description="rjepa.ticket of the reply")
    reply: dict[str, Any] | None = Field(
        None, description="the whole reply, where the process that gave it may be gone; with `messages`"
    )
    messages: list[ChatMessage] | None = Field(None, min_length=1, description="the conversation that was asked")


@router.post("/v1/feedback")
async def give_feedback(body: Feedback, request: Request) -> dict[str, Any]:
    """Say what an answer was worth, and whether it may be kept. Durable when the reply comes."""
    if body.vote is None and body.comment is None and body.consent is None:
        raise InvalidInputError("nothing is said of the answer", cure="send vote, comment or consent")
    if body.consent and body.consent_version not in (None, CONSENT_VERSION):
        raise OutdatedConsentError(
            "consent was given to words that are not the ones of today", cure="show those of GET /v1/me, and ask again"
        )
    desk = desk_of(request)
    owner = await desk.owner(body.user)
    first_vote_on, reply = await desk.run(lambda database: _take(database, desk, owner, body))
    if first_vote_on is not None:
        request.app.state.quality.voted(first_vote_on, up=body.vote == "up", client=client_that_counts(request.scope))
    return reply


@router.get("/v1/feedback/{answer_id}")
async def look(answer_id: str, request: Request, user: User = None) -> dict[str, Any]:
    """The vote and the comment on an answer, and what is kept of it."""
    desk = desk_of(request)
    owner = await desk.owner(user)
    return await desk.run(lambda database: _state(database, owner, answer_id))


@router.delete("/v1/feedback/{answer_id}")
async def delete_one(answer_id: str, request: Request, user: User = None) -> dict[str, Any]:
    """Delete what is kept of an answer, and the comment on it: its id and the time stay."""
    desk = desk_of(request)
    owner = await desk.owner(user)
    gone = await desk.run(lambda database: delete(database, owner, answer_id))
    desk.given.forget(answer_id)
    return {"id": answer_id, "object": "interaction", "deleted": True, "deleted_at_ms": gone.deleted_at_ms}


@router.get("/v1/me")
async def me(request: Request, user: User = None) -> dict[str, Any]:
    """Who one is here, how much is kept, and the words of consent with their version."""
    desk = desk_of(request)
    owner = await desk.owner(user)

    def read(database: Database) -> dict[str, Any]:
        kept = list_interactions(database, owner)
        with database.reading() as connection:
            workspace = workspace_of(connection, owner.client)
            included = workspace not in excluded_workspaces(connection)
        return {
            "object": "me",
            "client": owner.client,
            "workspace": workspace,
            "include_user_data": included,
            "opted_out": is_opted_out(database, owner),
            "contributions": sum(one.content is not None for one in kept),
            "consent": {"version": CONSENT_VERSION, "words": dict(CONSENT)},
        }

    return await desk.run(read)


@router.get("/v1/me/contributions", response_class=Response)
async def contributions(request: Request, user: User = None) -> Response:
    """Everything that is kept of oneself, as lines of JSON."""
    desk = desk_of(request)
    owner = await desk.owner(user)
    lines = await desk.run(lambda database: list(export(database, owner)))
    headers = {"content-disposition": 'attachment; filename="rjepa-contributions.jsonl"'}
    return Response("".join(lines), media_type="application/x-ndjson", headers=headers)


@router.delete("/v1/me/contributions")
async def delete_contributions(request: Request, user: User = None) -> dict[str, Any]:
    """Delete everything that is kept of oneself."""
    desk = desk_of(request)
    owner = await desk.owner(user)
    number = await desk.run(lambda database: delete_all(database, owner))
    return {"object": "contributions", "deleted": number}


@router.post("/v1/me/opt-out")
async def begin_opt_out(request: Request, user: User = None) -> dict[str, Any]:
    """Let nothing more be kept, and nothing that is kept be learned from. It deletes nothing."""
    desk = desk_of(request)
    owner = await desk.owner(user)
    await desk.run(lambda database: opt_out(database, owner))
    return {"object": "opt_out", "opted_out": True}


@router.delete("/v1/me/opt-out")
async def end_opt_out(request: Request, user: User = None) -> dict[str, Any]:
    """Take an opt-out back."""
    desk = desk_of(request)
    owner = await desk.owner(user)
    await desk.run(lambda database: opt_in(database, owner))
    still = await desk.run(lambda database: is_opted_out(database, owner))
    return {"object": "opt_out", "opted_out": still}


def _take(database: Database, desk: FeedbackDesk, owner: Owner, body: Feedback) -> tuple[str | None, dict[str, Any]]:
    """Do what feedback asks for. Returns the release that gave the answer, where this is the first vote on it, and the
    reply: live health counts each answer once, however often a client votes.
    """
    given = _find(database, desk, owner, body)
    with database.reading() as connection:
        before = find_vote(connection, given.interaction_id)
    if body.consent is False and find(database, given.interaction_id) is not None:
        delete(database, owner, given.interaction_id)
        desk.given.forget(given.interaction_id)
    if body.consent:
        keep(database, _with_words(database, desk, given, body))
    if body.vote is not None or body.comment is not None:
        give_vote(database, given, body.vote, body.comment)
    is_first = body.vote is not None and (before is None or before.vote is None)
    return given.release_id if is_first else None, _state(database, owner, given.interaction_id, known=True)


def _find(database: Database, desk: FeedbackDesk, owner: Owner, body: Feedback) -> Given:
    """The answer that feedback is on: held here, kept already, or proved by its ticket.

    Raises:
        NotKeptError: it is none of these, or somebody else's.
        InvalidInputError: the ticket is not one of this home, or of another answer.
    """
    found = desk.given.get(body.id)
    if found is None and (kept := find(database, body.id)) is not None:
        found = kept.given
    if found is None and body.ticket is not None:
        found = read_ticket(desk.secret(), body.ticket, body.id).given
    if found is None or not owner.owns(found.owner):
        raise NotKeptError(f"no answer {body.id!r} is known here", cure=_NEVER)
    return found


def _with_words(database: Database, desk: FeedbackDesk, given: Given, body: Feedback) -> Given:
    if given.content is not None or find(database, given.interaction_id) is not None:
        return given
    if body.ticket is None or body.reply is None or body.messages is None:
        raise InvalidInputError(
            "the words of that answer are not held here any more", cure="send ticket, reply and messages with it"
        )
    return bring_content(read_ticket(desk.secret(), body.ticket, body.id), _read_reply(body.reply, body.messages))


def _read_reply(reply: dict[str, Any], messages: list[ChatMessage]) -> Content:
    """The content of a reply of ours, as a client brings it back."""
    cure = "send the whole reply, as JSON, as it came"
    try:
        ours = reply["rjepa"]
        explanation = ours["explanation"]
        return Content(
            messages=to_messages(messages),
            text=_text_of(reply),
            steps=ours["steps"],
            final_answer=ours["final_answer"],
            finished=ours["finished"],
            abstained=ours["abstained"],
            familiar=None if explanation is None else explanation["familiar"],
            candidates=ours["candidates"],
        )
    except (KeyError, TypeError, IndexError, ValidationError):
        raise InvalidInputError("the reply is not one of this service", cure=cure) from None


def _text_of(reply: dict[str, Any]) -> Any:
    """The answer's text: of a chat completion, a response, or a generation."""
    if "choices" in reply:
        return reply["choices"][0]["message"]["content"]
    if "output" in reply:
        return reply["output"][0]["content"][0]["text"]
    return reply["text"]


def _state(database: Database, owner: Owner, answer_id: str, *, known: bool = False) -> dict[str, Any]:
    """The reply on the feedback on an answer: its vote, and what is kept of it."""
    interaction = find(database, answer_id)
    with database.reading() as connection:
        vote = find_vote(connection, answer_id)
    if not known and not any(one is not None and owner.owns(one.owner) for one in (interaction, vote)):
        raise NotKeptError(f"there is no feedback on an answer {answer_id[:ID_LENGTH]!r}", cure=_NEVER)
    return {
        "id": answer_id,
        "object": "feedback",
        "vote": None if vote is None else vote.vote,
        "comment": None if vote is None else vote.comment,
        "voted_at_ms": None if vote is None else vote.voted_at_ms,
        "kept": interaction is not None and interaction.content is not None,
        "interaction": None if interaction is None else shown(interaction),
    }
