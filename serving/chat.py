"""POST /v1/chat/completions: parse, one call, answer. Whole, or as server-sent events."""

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from rjepa.reasoning.answer import Answer
from rjepa.reasoning.conversation import to_messages
from rjepa.reasoning.events import Done, Event, Text
from rjepa.reasoning.question import Question
from rjepa.reasoning.tokens import TokenReport
from serving import sse
from serving.asking import Wanted, make_questions, prepare
from serving.errors import body_of
from serving.events import event_value, text_of
from serving.given import Exchange, exchange_of
from serving.host import AnswersQuestions, EngineHost, rows_of
from serving.lenient import Notes
from serving.models import engine_of
from serving.names import parse_name
from serving.replies import Answered, Choice, choices_of, logprob_of, usage_of
from serving.schemas import ChatRequest, RjepaOptions

_LOG = structlog.get_logger("serving")

Events = AsyncGenerator[tuple[int, Event], None]

router = APIRouter()


@dataclass(frozen=True)
class _Chat:
    """One request that is being answered: what each of its replies and chunks needs."""

    engine: AnswersQuestions
    questions: tuple[Question, ...]
    body: ChatRequest
    notes: Notes
    exchange: Exchange
    created: int

    @property
    def head(self) -> dict[str, Any]:
        """What a completion and its chunks have in common."""
        return {
            "id": self.exchange.id,
            "created": self.created,
            "model": self.body.model,
            "system_fingerprint": self.engine.release_id,
        }

    def choices(self, index: int, answer: Answer) -> list[Choice]:
        """The choices that one question's answer gives."""
        keep = self.body.rjepa is not None and self.body.rjepa.keep_question
        answered = Answered(self.questions[index], answer, self.engine, self.notes, keep)
        return choices_of(answered, (self.body.n or 1) if len(self.questions) == 1 else 1)


@router.post("/v1/chat/completions")
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """Answer the conversation. The model's name or `rjepa.mode` chooses how: GET /v1/models lists the names."""
    host: EngineHost = request.app.state.host
    name = parse_name(body.model)
    engine = await engine_of(request, name)
    notes = Notes()

    def questions_of() -> tuple[Question, ...]:
        body.refuse()
        notes.ignore(body.unknown())
        wanted = Wanted(
            to_messages(body.messages),
            name,
            body.rjepa or RjepaOptions(),
            body.sampling,
            limit=body.limit,
            seed=body.seed,
            choices=body.n or 1,
            tools=body.offered_tools,
        )
        return make_questions(wanted, engine, request.app.state.settings.max_tokens, notes)

    questions = await prepare(request, engine, questions_of)
    exchange = exchange_of(
        request.app.state.feedback,
        f"chatcmpl-{uuid.uuid4().hex}",
        user=body.safety_identifier or body.user,
        consent=body.rjepa is not None and body.rjepa.consent,
    )
    chat = _Chat(engine, questions, body, notes, exchange, int(time.time()))
    shown = bool(body.stream)
    events = host.events(lambda: engine.run_many(questions, shown=shown), rows_of(questions), None if shown else Done)
    if shown:
        return sse.streaming(_chunks(events, chat), dict(notes.headers))
    answers = await answers_of(events)
    for answer in answers:
        log_answer(answer)
    reply = _completion(chat, answers)
    await exchange.settle(questions[0], answers[0], reply["rjepa"])
    return JSONResponse(reply, headers=dict(notes.headers))


async def answers_of(events: Events) -> list[Answer]:
    """The answer of each question, in their order. A client that leaves cancels this, which stops the work."""
    async with aclosing(events):
        answers = {index: event.answer async for index, event in events if isinstance(event, Done)}
    return [answers[index] for index in sorted(answers)]


def log_answer(answer: Answer) -> None:
    """Log figures only: what was asked and answered stays out of the log."""
    _LOG.info(
        "answered",
        mode=answer.mode,
        candidates=len(answer.candidates),
        tokens=answer.cost.tokens_generated,
        seconds=round(answer.cost.seconds, 3),
        release=answer.release_id,
    )


def _completion(chat: _Chat, answers: list[Answer]) -> dict[str, Any]:
    """The reply of a request without streaming. `rjepa` is that of the first choice; the others have their own."""
    choices = [choice for index, answer in enumerate(answers) for choice in chat.choices(index, answer)]
    return chat.head | {
        "object": "chat.completion",
        "choices": [_choice(index, choice) for index, choice in enumerate(choices)],
        "usage": usage_of(answers),
        "rjepa": choices[0].rjepa,
    }


def _choice(index: int, choice: Choice) -> dict[str, Any]:
    message = {"role": "assistant", "content": choice.text, "refusal": None}
    own = {} if index == 0 else {"rjepa": choice.rjepa}
    logprobs = _logprobs(choice.tokens)
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish_reason} | own


def _logprobs(tokens: Sequence[TokenReport] | None) -> dict[str, Any] | None:
    return None if tokens is None else {"content": [logprob_of(token) for token in tokens], "refusal": None}


async def _chunks(events: Events, chat: _Chat) -> AsyncIterator[bytes]:
    """Chunks: a role for each choice, text and events as they come, finishes with the `rjepa` field, usage, [DONE].

    An event that adds no text is a chunk with an empty delta, which clients that know nothing of it pass over.
    """
    include_usage = chat.body.stream_options is not None and chat.body.stream_options.include_usage
    usage: dict[str, Any] = {"usage": None} if include_usage else {}
    head = chat.head | {"object": "chat.completion.chunk"} | usage

    def chunk(
        index: int,
        delta: dict[str, str],
        finish: str | None = None,
        tokens: Sequence[TokenReport] | None = None,
        **more: Any,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": _logprobs(tokens), "finish_reason": finish}
        return sse.event(head | {"choices": [choice]} | more)

    answers: list[Answer] = []
    told_tokens: set[int] = set()
    try:
        for index in range(len(chat.questions)):
            yield chunk(index, {"role": "assistant", "content": ""})
        async for item in sse.with_pings(events):
            if item is None:
                yield sse.KEEP_ALIVE
                continue
            index, event = item
            if isinstance(event, Done):
                log_answer(event.answer)
                answers.append(event.answer)
                first, *others = chat.choices(index, event.answer)
                if index == 0:
                    await chat.exchange.settle(chat.questions[0], event.answer, first.rjepa)
                late = None if index in told_tokens else first.tokens
                last = [chunk(index, {}, first.finish_reason, late, rjepa=first.rjepa)]
                for place, choice in enumerate(others, 1):
                    last.append(chunk(place, {"role": "assistant", "content": choice.text}, tokens=choice.tokens))
                    last.append(chunk(place, {}, choice.finish_reason, rjepa=choice.rjepa))
                if len(answers) == len(chat.questions):
                    last += [sse.event(head | {"choices": [], "usage": usage_of(answers)})] if include_usage else []
                    last.append(sse.DONE)
                yield b"".join(last)
                continue
            text, told = text_of(event), event_value(event)
            more: dict[str, Any] = {} if told is None else {"rjepa": {"event": told}}
            tokens = event.tokens if isinstance(event, Text) and event.tokens else None
            told_tokens |= {index} if tokens else set()
            yield chunk(index, {} if text is None else {"content": text}, tokens=tokens, **more)
    except Exception as error:  # noqa: BLE001 - a stream that has begun can only tell it as an event
        yield sse.event(body_of(error)[1])
    finally:
        await events.aclose()
