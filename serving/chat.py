"""POST /v1/chat/completions: parse, one call, answer. Whole, or as server-sent events."""

import asyncio
import json
import secrets
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from rjepa.errors import InvalidInputError
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.events import Done, Event, StepWritten, Text
from rjepa.reasoning.question import Question, ask
from serving.errors import UnknownModelError, body_of
from serving.host import AnswersQuestions, EngineHost
from serving.schemas import ChatRequest, completion, finish_reason, rjepa_field, usage_of
from serving.settings import ServiceSettings

_LOG = structlog.get_logger("serving")
_PING_SECONDS: Final = 10.0
"""Proxies cut connections that are silent for 30 to 60 s; sampling many candidates can take longer."""

_CLIENT_LEFT: Final = 499
"""No client reads it; nginx's number for the same in its log."""

router = APIRouter()


@router.post("/v1/chat/completions")
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """Answer the conversation. `rjepa.mode` chooses how: GET /v1/info lists the modes."""
    host: EngineHost = request.app.state.host
    engine = host.engine()
    if body.model != engine.llm_tag:
        raise UnknownModelError(f"there is no model {body.model!r} here", cure=f"use model={engine.llm_tag!r}")
    question = await asyncio.to_thread(_question, body, request.app.state.settings)
    await asyncio.to_thread(engine.check, question)
    events = host.events(lambda: engine.run(question))
    ident: dict[str, Any] = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}
    if body.stream:
        chunks = _chunks(events, engine, ident, _wants_usage(body))
        return StreamingResponse(chunks, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
    answer = await _answer(events, request)
    if answer is None:
        return Response(status_code=_CLIENT_LEFT)
    _log_answer(answer)
    return JSONResponse(completion(answer, completion_id=ident["id"], created=ident["created"]))


def _question(body: ChatRequest, settings: ServiceSettings) -> Question:
    if body.limit is not None and body.limit > settings.max_tokens:
        raise InvalidInputError(
            f"max_tokens is {body.limit}, this service gives at most {settings.max_tokens}",
            cure=f"ask for at most {settings.max_tokens} tokens",
        )
    return ask(
        body.conversation(),
        body.rjepa.mode,
        body.rjepa.mode_options,
        temperature=body.temperature,
        max_tokens=body.limit,
        seed=_seed(body),
        strict=True,
    )


def _seed(body: ChatRequest) -> int:
    given = body.rjepa.seed if body.rjepa.seed is not None else body.seed
    return given if given is not None else secrets.randbelow(2**31)


def _wants_usage(body: ChatRequest) -> bool:
    return body.stream_options is not None and body.stream_options.include_usage


async def _answer(events: AsyncGenerator[Event, None], request: Request) -> Answer | None:
    """The answer, or None if the client leaves first: then the work for it stops."""

    async def last() -> Answer | None:
        async for event in events:
            if isinstance(event, Done):
                return event.answer
        return None

    working, leaving = asyncio.ensure_future(last()), asyncio.ensure_future(_leave(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
        await events.aclose()


async def _leave(request: Request) -> None:
    """Return when the client has closed the connection: its body was read, so nothing else can come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _chunks(
    events: AsyncGenerator[Event, None], engine: AnswersQuestions, ident: dict[str, Any], include_usage: bool
) -> AsyncIterator[bytes]:
    """Chunks: the role, the text as it comes, the finish with the `rjepa` field, the usage if asked for, [DONE]."""

    def chunk(delta: dict[str, str] | None, finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        value: dict[str, Any] = {
            "id": ident["id"],
            "object": "chat.completion.chunk",
            "created": ident["created"],
            "model": engine.llm_tag,
            "system_fingerprint": engine.release_id,
            "choices": [] if delta is None else [choice],
        }
        if include_usage:
            value["usage"] = None
        return _event(value | more)

    try:
        yield chunk({"role": "assistant", "content": ""})
        async for event in _with_pings(events):
            if event is None:
                yield KEEPALIVE_COMMENT
            elif isinstance(event, Text | StepWritten):
                yield chunk({"content": event.text})
            elif isinstance(event, Done):
                _log_answer(event.answer)
                yield chunk({}, finish_reason(event.answer), rjepa=rjepa_field(event.answer))
                if include_usage:
                    yield chunk(None, usage=usage_of(event.answer))
        yield format_sse_event(data_str="[DONE]")
    except Exception as error:  # noqa: BLE001 - a stream that has begun can only tell it as an event
        yield _event(body_of(error)[1])
    finally:
        await events.aclose()


async def _with_pings(events: AsyncIterator[Event]) -> AsyncIterator[Event | None]:
    """The events, and None whenever none came for a while."""
    pending: asyncio.Future[Event] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(events))
            finished, _ = await asyncio.wait({pending}, timeout=_PING_SECONDS)
            if not finished:
                yield None
                continue
            try:
                event = pending.result()
            except StopAsyncIteration:
                return
            finally:
                pending = None
            yield event
    finally:
        if pending is not None:
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)


def _event(value: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def _log_answer(answer: Answer) -> None:
    """Figures only: what was asked and answered stays out of the log."""
    _LOG.info(
        "answered",
        mode=answer.mode,
        candidates=len(answer.candidates),
        tokens=answer.cost.tokens_generated,
        seconds=round(answer.cost.seconds, 3),
        release=answer.release_id,
    )
