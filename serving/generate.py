"""POST /v1/generate: a problem in, an answer out, in our own simple form. For scripts that want no chat."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from rjepa.reasoning.events import Done
from rjepa.reasoning.question import Message, Question
from rjepa.values import LenientValue, Words
from serving.asking import Wanted, make_questions, prepare
from serving.chat import answers_of, log_answer
from serving.given import exchange_of
from serving.host import EngineHost, rows_of
from serving.lenient import Number, Whole
from serving.models import engine_of
from serving.names import parse_name
from serving.reading import noted
from serving.replies import Answered, rjepa_field, usage_of
from serving.schemas import RjepaOptions, UserName

router = APIRouter()


class GenerateRequest(LenientValue):
    """A problem, and how it is to be answered: a mode, with its options (GET /v1/info lists them)."""

    problem: Annotated[Words, Field(min_length=1)]
    model: str | None = Field(None, max_length=200)
    mode: str | None = None
    options: RjepaOptions | None = None
    seed: Whole | None = None
    max_tokens: Annotated[Whole, Field(ge=-1)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    user: UserName = None


@router.post("/v1/generate")
async def generate(body: GenerateRequest, request: Request) -> Response:
    """Answer one problem: its text, steps with energies, the final answer and P(correct)."""
    host: EngineHost = request.app.state.host
    name, notes = parse_name(body.model or request.app.state.settings.llm), noted(body)
    engine = await engine_of(request, name)

    def questions_of() -> tuple[Question, ...]:
        options = body.options or RjepaOptions()
        rjepa = options if body.mode is None else options.model_copy(update={"mode": body.mode})
        sampling = {} if body.temperature is None else {"temperature": body.temperature}
        messages = (Message(role="user", content=body.problem),)
        wanted = Wanted(messages, name, rjepa, sampling, limit=body.max_tokens, seed=body.seed)
        return make_questions(wanted, engine, request.app.state.settings.max_tokens, notes)

    questions = await prepare(request, engine, questions_of)
    answers = await answers_of(host.events(lambda: engine.run_many(questions, shown=False), rows_of(questions), Done))
    (answer,) = answers
    log_answer(answer)
    reply: dict[str, Any] = {
        "id": f"gen-{uuid.uuid4().hex}",
        "object": "rjepa.answer",
        "model": engine.llm_tag,
        "text": answer.text,
        "steps": answer.steps,
        "final_answer": answer.final_answer,
        "p_correct": answer.p_correct,
        "finished": answer.finished,
        "usage": usage_of(answers),
        "rjepa": rjepa_field(Answered(questions[0], answer, engine, notes)),
    }
    consent = body.options is not None and body.options.consent
    exchange = exchange_of(request.app.state.feedback, reply["id"], user=body.user, consent=consent)
    await exchange.settle(questions[0], answer, reply["rjepa"])
    return JSONResponse(reply, headers=dict(notes.headers))
