"""POST /v1/completions: plain text, from texts or token ids, as clients of older servers and evaluation harnesses ask.

The student goes on from the text as it is: no problem's wording is put around it, and no mode chooses. What a request
may hold is in `completion_schemas`.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from rjepa.reasoning.events import Text, Working
from rjepa.reasoning.question import InvalidQuestionError
from rjepa.reasoning.tokens import TokenReport, report_tokens
from rjepa.students.rules import TokenRules
from serving import sse
from serving.asking import NONE, choose_seed
from serving.completion_schemas import DEFAULT_TOKENS, CompletionRequest, logprobs_value
from serving.errors import body_of
from serving.host import EngineHost
from serving.lenient import Notes
from serving.reading import plain_engine, spend, total

if TYPE_CHECKING:
    from rjepa.continuing import Continuation, Continued
    from rjepa.sampling.protocol import ChainSource

_LOG = structlog.get_logger("serving")
router = APIRouter()


@dataclass(frozen=True)
class _Read:
    """A prompt that was read for its echo. `tokens` are all of it, the first without a log-probability."""

    text: str
    tokens: tuple[TokenReport, ...] | None


@dataclass(frozen=True)
class _Job:
    """One request, ready to be worked on: prompts as tokens and as text, and what is written of each."""

    body: CompletionRequest
    source: "ChainSource"
    prompts: list[tuple[int, ...]]
    texts: list[str]
    wanted: "list[Continuation]"
    head: dict[str, Any]
    notes: Notes = field(default_factory=Notes)

    def work(self) -> "Generator[tuple[int, Working | Text | Continued | _Read], None, None]":
        """In the engine's thread: prompts that are echoed first, by their number; then continuations, by theirs."""
        from rjepa.continuing import continue_texts

        if self.body.echo:
            yield from enumerate(self._echoes())
        if self.wanted:
            yield from continue_texts(self.source, self.wanted)

    def _echoes(self) -> list[_Read]:
        top = self.body.logprobs
        if top is None:
            return [_Read(text, None) for text in self.texts]
        reader = self.source.reader
        scores = reader.score(self.prompts, top)
        names = reader.names([ids[0] for ids in self.prompts])
        return [
            _Read(text, (_unscored(ids[0], name), *(report_tokens(one) or ())))
            for text, ids, name, one in zip(self.texts, self.prompts, names, scores, strict=True)
        ]


@router.post("/v1/completions")
async def completions(body: CompletionRequest, request: Request) -> Response:
    """Go on from a text, or from several. The student alone: a model's name with a mode is refused."""
    from rjepa.continuing import Continued

    host: EngineHost = request.app.state.host
    engine = await plain_engine(request, body.model)
    most = request.app.state.settings.max_tokens
    head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time())}
    head |= {"model": body.model, "system_fingerprint": engine.release_id}
    job = await asyncio.to_thread(_prepare, body, engine.source, most, head)
    spend(total(job.prompts))  # what is written is counted where it is written
    events = host.events(job.work, len(job.wanted), None if body.stream else (_Read, Continued))
    if body.stream:
        return sse.streaming(_chunks(events, job), dict(job.notes.headers))
    return JSONResponse(await _whole(events, job), headers=dict(job.notes.headers))


def _prepare(body: CompletionRequest, source: "ChainSource", most: int, head: dict[str, Any]) -> _Job:
    from rjepa.continuing import Continuation, check_continuations, require_text

    body.refuse()
    notes = Notes()
    notes.ignore(body.unknown())
    given, reader = body.prompts, source.reader
    if isinstance(given[0], str):
        texts = [str(one) for one in given]
        prompts = reader.tokenize(texts)
    else:
        prompts = [tuple(one) for one in given if not isinstance(one, str)]
        for ids in prompts:
            require_text(source, ids)
        texts = [reader.text(ids) for ids in prompts]
    for ids in prompts:
        require_text(source, ids, 0 if body.max_tokens == 0 else 1)
    limit, seed, rules = _limit(body, source, most, notes), choose_seed(body.seed, notes), _rules(body)
    wanted = [
        Continuation(
            ids, text, index, seed, body.temperature, _room(limit, source.context_length - len(ids), notes), rules
        )
        for ids, text in zip(prompts, texts, strict=True)
        for index in range(body.candidates if limit else 0)
    ]
    check_continuations(source, wanted)
    return _Job(body, source, prompts, texts, wanted, head, notes)


def _rules(body: CompletionRequest) -> TokenRules:
    try:
        bias = sorted((int(token), value) for token, value in (body.logit_bias or {}).items())
    except ValueError:
        raise InvalidQuestionError(
            "logit_bias names something that is no token id", cure="use the model's token ids", field="logit_bias"
        ) from None
    return TokenRules(
        top_p=1.0 if body.top_p is None else body.top_p,
        top_k=max(0, body.top_k or 0),
        min_p=body.min_p or 0.0,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=tuple(dict(bias).items()),
        stop=body.stops,
        ends_at_answer=False,
        top_logprobs=body.logprobs,
    )


def _limit(body: CompletionRequest, source: "ChainSource", most: int, notes: Notes) -> int:
    wanted = body.max_tokens
    if wanted is None:
        return DEFAULT_TOKENS
    if wanted == NONE:
        notes.adjust("max_tokens", "-1 asks for no limit; the student's own was taken")
        return min(source.record.sampling.max_new_tokens, most)
    if wanted > most:
        notes.adjust("max_tokens", f"{most}, the most that this service gives")
    return min(wanted, most)


def _room(limit: int, room: int, notes: Notes) -> int:
    if limit > room:
        notes.adjust("max_tokens", "what the context holds after the prompt")
    return min(limit, room)


def _unscored(token: int, name: bytes) -> TokenReport:
    return TokenReport(id=token, text=name.decode("utf-8", "replace"), bytes=tuple(name), logprob=0.0)


async def _whole(items: "AsyncGenerator[tuple[int, Any], None]", job: _Job) -> dict[str, Any]:
    """The reply of a request without streaming."""
    from rjepa.continuing import Continued

    echoes: dict[int, _Read] = {}
    written: dict[int, Continued] = {}
    async with aclosing(items):
        async for index, item in items:
            if isinstance(item, _Read):
                echoes[index] = item
            elif isinstance(item, Continued):
                written[index] = item
    each = job.body.candidates
    choices: list[dict[str, Any]] = []
    for prompt in range(len(job.prompts)):
        own: list[Continued | None] = [None]
        if written:
            own = [written[index] for index in range(prompt * each, (prompt + 1) * each)]
        if each > 1 and job.body.best_of:
            own = sorted(own, key=lambda one: -(one.mean_logprob if one else 0.0))[: job.body.n or 1]
        choices += [_choice(len(choices) + place, echoes.get(prompt), one) for place, one in enumerate(own)]
    generated = sum(one.generated for one in written.values())
    _LOG.info("continued", prompts=len(job.prompts), tokens=generated, release=job.head["system_fingerprint"])
    return job.head | {"choices": choices, "usage": _usage(job, generated), "rjepa": _told(job)}


def _choice(index: int, echo: _Read | None, written: "Continued | None") -> dict[str, Any]:
    text = ("" if echo is None else echo.text) + ("" if written is None else written.text)
    tokens = [] if echo is None else [*(echo.tokens or ())]
    scored = bool(tokens) or (written is not None and written.tokens is not None)
    tokens += [] if written is None else [*(written.tokens or ())]
    finish = "stop" if written is not None and written.finished else "length"
    logprobs = logprobs_value(tokens, echo is not None) if scored else None
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}


def _usage(job: _Job, generated: int) -> dict[str, int]:
    """Tokens of every candidate count; a prompt is read once for all of its own."""
    read = sum(map(len, job.prompts))
    return {"prompt_tokens": read, "completion_tokens": generated, "total_tokens": read + generated}


def _told(job: _Job) -> dict[str, Any]:
    return {"ignored": job.notes.ignored, "adjusted": list(job.notes.adjusted.values())}


async def _chunks(items: "AsyncGenerator[tuple[int, Any], None]", job: _Job) -> AsyncIterator[bytes]:
    """Chunks of text as it is written, each choice's last with its finish; the usage if it is asked for; [DONE]."""
    from rjepa.continuing import Continued

    wants_usage = job.body.stream_options is not None and job.body.stream_options.include_usage
    head = job.head | ({"usage": None} if wants_usage else {})
    each, scored = job.body.candidates, job.body.logprobs is not None
    shown = [0] * max(len(job.wanted), len(job.prompts))
    generated = 0

    def chunk(index: int, text: str, tokens: tuple[TokenReport, ...], first: bool, finish: str | None) -> bytes:
        logprobs = logprobs_value([*tokens], first, shown[index]) if scored and tokens else None
        shown[index] += len(text)
        choice = {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}
        return sse.event(head | {"choices": [choice]})

    try:
        async for item in sse.with_pings(items):
            if item is None:
                yield sse.KEEP_ALIVE
                continue
            index, event = item
            if isinstance(event, _Read):
                for place in range(index * each, (index + 1) * each):
                    yield chunk(place, event.text, event.tokens or (), True, None if job.wanted else "length")
            elif isinstance(event, Continued):
                generated += event.generated
                yield chunk(index, "", (), False, "stop" if event.finished else "length")
            elif isinstance(event, Text):
                yield chunk(index, event.text, event.tokens, False, None)
        _LOG.info("continued", prompts=len(job.prompts), tokens=generated, release=job.head["system_fingerprint"])
        if wants_usage:
            yield sse.event(head | {"choices": [], "usage": _usage(job, generated)})
        yield sse.DONE
    except Exception as error:  # noqa: BLE001 - a stream that has begun can only tell it as an event
        yield sse.event(body_of(error)[1])
    finally:
        await items.aclose()
