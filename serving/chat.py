"""POST /v1/chat/completions: parse, one call, answer. Whole, or as server-sent events."""

import asyncio
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from rjepa.answer import Answer
from rjepa.errors import InvalidInputError
from rjepa.progress import Progress, silent
from serving.errors import UnknownModelError, body_of
from serving.host import AnswersQuestions, EngineHost
from serving.schemas import ChatRequest, completion, finish_reason, rjepa_field, usage_of
from serving.settings import ServiceSettings

_LOG = structlog.get_logger("serving")
_PING_SECONDS: Final = 10.0
"""Proxies cut connections that are silent for 30 to 60 s; sampling many candidates can take longer."""

router = APIRouter()


@router.post("/v1/chat/completions")
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """Answer the last user message. `rjepa.mode` chooses how: off (the student alone) or rerank."""
    host: EngineHost = request.app.state.host
    engine = host.engine()
    if body.model != engine.llm_tag:
        raise UnknownModelError(f"there is no model {body.model!r} here", cure=f"use model={engine.llm_tag!r}")
    statement = body.statement()
    options = _options(body, request.app.state.settings)
    await asyncio.to_thread(engine.check, statement, **options)
    options["seed"] = _seed(body)
    ident = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}
    if body.stream:
        events = _events(host, engine, statement, options, ident, _wants_usage(body))
        return StreamingResponse(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
    answer = await host.run(lambda: engine.answer(statement, **options, progress=silent))
    _log_answer(answer)
    return JSONResponse(completion(answer, completion_id=str(ident["id"]), created=int(ident["created"])))


def _options(body: ChatRequest, settings: ServiceSettings) -> dict[str, Any]:
    if body.limit is not None and body.limit > settings.max_tokens:
        raise InvalidInputError(
            f"max_tokens is {body.limit}, this service gives at most {settings.max_tokens}",
            cure=f"ask for at most {settings.max_tokens} tokens",
        )
    return {
        "mode": body.rjepa.mode,
        "num_candidates": body.rjepa.num_candidates,
        "temperature": body.temperature,
        "max_tokens": body.limit,
    }


def _seed(body: ChatRequest) -> int:
    given = body.rjepa.seed if body.rjepa.seed is not None else body.seed
    return given if given is not None else secrets.randbelow(2**31)


def _wants_usage(body: ChatRequest) -> bool:
    return body.stream_options is not None and body.stream_options.include_usage


async def _events(
    host: EngineHost,
    engine: AnswersQuestions,
    statement: str,
    options: dict[str, Any],
    ident: dict[str, Any],
    include_usage: bool,
) -> AsyncIterator[bytes]:
    """Chunks: the role, the text as it comes, the finish with the `rjepa` field, the usage if asked for, [DONE]."""

    def work(progress: Progress) -> Iterator[str | Answer]:
        return engine.stream(statement, **options, progress=progress)

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

    items = host.stream(work)
    try:
        yield chunk({"role": "assistant", "content": ""})
        async for item in _with_pings(items):
            if item is None:
                yield KEEPALIVE_COMMENT
            elif isinstance(item, str):
                yield chunk({"content": item})
            else:
                _log_answer(item)
                yield chunk({}, finish_reason(item), rjepa=rjepa_field(item))
                if include_usage:
                    yield chunk(None, usage=usage_of(item))
        yield format_sse_event(data_str="[DONE]")
    except Exception as error:
        yield _event(body_of(error)[1])
    finally:
        await items.aclose()


async def _with_pings(items: AsyncIterator[str | Answer]) -> AsyncIterator[str | Answer | None]:
    """The items, and None whenever none came for a while."""
    pending: asyncio.Future[str | Answer] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(items))
            finished, _ = await asyncio.wait({pending}, timeout=_PING_SECONDS)
            if not finished:
                yield None
                continue
            try:
                item = pending.result()
            except StopAsyncIteration:
                return
            finally:
                pending = None
            yield item
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
        tokens=answer.completion_tokens,
        seconds=round(answer.seconds, 3),
        release=answer.release_id,
    )
