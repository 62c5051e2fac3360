"""POST /v1/responses, and the stored ones: GET and DELETE /v1/responses/{id}."""

import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from rjepa.errors import TooLongError
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.conversation import to_messages
from rjepa.reasoning.events import Done, Text
from rjepa.reasoning.question import InvalidQuestionError, Message, Question
from serving import sse
from serving.asking import Wanted, make_questions, prepare
from serving.chat import Events, answers_of, log_answer
from serving.context import current_request
from serving.errors import body_of
from serving.events import event_value, text_of
from serving.given import Exchange, exchange_of
from serving.host import AnswersQuestions, EngineHost, rows_of
from serving.lenient import Notes
from serving.models import engine_of
from serving.names import parse_name
from serving.replies import Answered, choices_of, usage_of
from serving.response_schemas import LOGPROBS, ResponsesRequest
from serving.response_shapes import ResponseEvents, ResponseShape, input_item_values, logprobs_of, stored_events
from serving.response_store import ResponseStore
from serving.schemas import RjepaOptions

router = APIRouter()


class _Responding:
    """One request that is being answered: its question, its shape, and what is kept of it when it is done."""

    def __init__(
        self,
        body: ResponsesRequest,
        engine: AnswersQuestions,
        question: Question,
        notes: Notes,
        store: ResponseStore,
        exchange: Exchange,
    ) -> None:
        self.engine = engine
        self.question = question
        self.notes = notes
        self._keep_question = body.rjepa is not None and body.rjepa.keep_question
        self._instructions = len(_instructions(body))
        self._store = store if body.store is not False else None
        self._owner = owner_of()
        self._exchange = exchange
        self.shape = ResponseShape(exchange.id, body, engine.release_id)

    async def finish(self, answer: Answer) -> dict[str, Any]:
        """The whole response, which is stored unless the client asked not to."""
        log_answer(answer)
        (choice,) = choices_of(Answered(self.question, answer, self.engine, self.notes, self._keep_question), 1)
        await self._exchange.settle(self.question, answer, choice.rjepa)
        whole = self.shape.finished(choice, usage_of([answer]))
        if self._store is not None:
            # Instructions are this answer's alone: those of the next one take their place.
            self._store.add(self._owner, whole, self.question.messages[self._instructions :], answer.text.strip())
        return whole


@router.post("/v1/responses")
async def responses(body: ResponsesRequest, request: Request) -> Response:
    """Answer the input, after the conversation that `previous_response_id` names."""
    host: EngineHost = request.app.state.host
    store: ResponseStore = request.app.state.responses
    name = parse_name(body.model)
    engine = await engine_of(request, name)
    notes = Notes()
    earlier = store.conversation(owner_of(), body.previous_response_id)

    body.refuse()
    notes.ignore(body.unknown())
    notes.ignore(f"include.{name}" for name in body.include or () if name != LOGPROBS)
    messages = (*_instructions(body), *earlier, *_input(body, notes, store))

    def question_of() -> Question:
        wanted = Wanted(
            messages,
            name,
            body.rjepa or RjepaOptions(),
            body.sampling,
            limit=body.max_output_tokens,
            tools=body.offered_tools(notes),
        )
        (question,) = make_questions(wanted, engine, request.app.state.settings.max_tokens, notes)
        return question

    words, most = sum(len(message.content) for message in messages), request.app.state.settings.max_body_bytes
    if words > most:  # a short body can name a long item many times
        raise TooLongError(
            f"the conversation, with the items that it names, has {words} characters; the service reads {most}",
            cure=f"name fewer earlier items: here this model's maximum context length is {most} characters",
        )
    question = await prepare(request, engine, question_of, words)
    exchange = exchange_of(
        request.app.state.feedback,
        f"resp_{uuid.uuid4().hex}",
        user=body.safety_identifier or body.user,
        consent=body.rjepa is not None and body.rjepa.consent,
    )
    responding = _Responding(body, engine, question, notes, store, exchange)
    shown = bool(body.stream)
    events = host.events(lambda: engine.run_many([question], shown=shown), rows_of([question]), None if shown else Done)
    if shown:
        return sse.streaming(_stream(events, responding), dict(notes.headers))
    answers = await answers_of(events)
    return JSONResponse(await responding.finish(answers[0]), headers=dict(notes.headers))


@router.get("/v1/responses/{response_id}")
async def stored(
    response_id: str, request: Request, stream: bool = False, starting_after: Annotated[int, Query(ge=-1)] = -1
) -> Response:
    """A stored response, as it was given; as the events of a stream, from one on, where that is asked for."""
    store: ResponseStore = request.app.state.responses
    whole = store.get(owner_of(), response_id).body
    if stream:
        return sse.streaming(sse.all_of(stored_events(whole, starting_after)), {})
    return JSONResponse(whole)


@router.get("/v1/responses/{response_id}/input_items")
async def input_items(
    response_id: str,
    request: Request,
    after: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """What a stored response answered: the conversation before it, a page at a time, the newest first."""
    store: ResponseStore = request.app.state.responses
    items = list(input_item_values(response_id, store.get(owner_of(), response_id).messages))
    items = items if order == "asc" else items[::-1]
    ids = [item["id"] for item in items]
    if after is not None and after not in ids:
        raise InvalidQuestionError(
            "after names no item of this response", cure="take the last_id of the page before", field="after"
        )
    start = 0 if after is None else ids.index(after) + 1
    page = items[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + limit < len(items),
    }


@router.delete("/v1/responses/{response_id}")
async def forget(response_id: str, request: Request) -> dict[str, Any]:
    """Forget a stored response. Those that went on from it keep their conversation."""
    store: ResponseStore = request.app.state.responses
    store.delete(owner_of(), response_id)
    return {"id": response_id, "object": "response", "deleted": True}


def owner_of() -> str:
    """Whose answers a request may see."""
    return current_request().client


def _instructions(body: ResponsesRequest) -> tuple[Message, ...]:
    words = (body.instructions or "").strip()
    return (Message(role="system", content=words),) if words else ()


def _input(body: ResponsesRequest, notes: Notes, store: ResponseStore) -> tuple[Message, ...]:
    owner = owner_of()
    try:
        return to_messages(body.turns(notes, lambda item_id: store.message(owner, item_id)))
    except InvalidQuestionError as error:
        field = error.field.replace("messages", "input")
        raise InvalidQuestionError(error.problem, cure=error.cure, field=field) from error


async def _stream(events: Events, responding: _Responding) -> AsyncIterator[bytes]:
    """The events that OpenAI's clients expect, and between them R-JEPA's own."""
    making = ResponseEvents(responding.shape.response("in_progress", []))
    try:
        for piece in making.begin():
            yield piece
        async for item in sse.with_pings(events):
            if item is None:
                yield sse.KEEP_ALIVE
                continue
            _, event = item
            if isinstance(event, Done):
                for piece in making.end(await responding.finish(event.answer)):
                    yield piece
                continue
            text, told = text_of(event), event_value(event)
            tokens = event.tokens if isinstance(event, Text) else ()
            if text or tokens or told is not None:
                yield making.piece(text or "", logprobs_of(tokens), told)
    except Exception as error:  # noqa: BLE001 - a stream that has begun can only tell it as an event
        yield making.fail(body_of(error)[1]["error"])
    finally:
        await events.aclose()
