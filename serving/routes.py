"""What the service says of itself: health, readiness, info and examples. The pages are `serving.pages`."""

import asyncio
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from serving.host import AnswersQuestions, EngineHost
from serving.lenient import RULE

STATIC: Final = Path(__file__).resolve().parent / "static"
_EXAMPLES: Final = 6

router = APIRouter()


@router.get("/v1/health")
async def health() -> dict[str, str]:
    """The process is alive. Whether it can answer is `/v1/ready`."""
    return {"status": "ok"}


@router.get("/v1/ready")
async def ready(request: Request) -> JSONResponse:
    """200 if questions can be answered, 503 if not. Why not is in `/v1/info`."""
    state, stopping = _host(request).state, request.app.state.admission.stopping
    is_ready = state.engine is not None and not stopping
    body = {"ready": is_ready, "reload": state.reload, "stopping": stopping}
    body["release"] = None if state.engine is None else state.engine.release_id
    return JSONResponse(body, status_code=200 if is_ready else 503)


@router.get("/v1/info")
async def info(request: Request) -> dict[str, Any]:
    """What is served, its limits, and the last reload's error with its cure."""
    state, settings = _host(request).state, request.app.state.settings
    error = None if state.error is None else {"problem": state.error.problem, "cure": state.error.cure}
    return {
        "model": settings.llm,
        "ready": state.engine is not None,
        "reload": state.reload,
        "error": error,
        "release": None if state.engine is None else state.engine.info(),
        "loras": [
            {"id": name, "model": f"{settings.llm}+{name}", "modes": list(loaded.answerer.modes)}
            | loaded.answerer.info()
            for name, loaded in request.app.state.loras.loaded.items()
        ],
        "modes": await asyncio.to_thread(_modes, state.engine),
        "max_tokens": settings.max_tokens,
        "messages": "all are read where the student has a chat template; what is not read is listed in rjepa.ignored",
        "parameters": RULE,
    }


@router.get("/v1/examples")
async def examples(request: Request) -> dict[str, Any]:
    """Problems that the student can attempt."""
    host = _host(request)
    engine = host.engine()
    found = await host.run(lambda: engine.examples(_EXAMPLES))
    return {"object": "list", "data": [example.model_dump() for example in found]}


def _host(request: Request) -> EngineHost:
    host: EngineHost = request.app.state.host
    return host


def _modes(engine: AnswersQuestions | None) -> list[dict[str, Any]]:
    """Return each mode with the options that it takes, and whether what is served offers it."""
    from rjepa.reasoning.modes import MODES  # torch comes with them, and the service is up before it is

    return [
        {
            "name": mode.name,
            "summary": mode.summary,
            "options": mode.options.model_json_schema().get("properties", {}),
            "offered": engine is not None and mode.name in engine.modes,
        }
        for mode in MODES.values()
    ]
