"""Errors in the shape that OpenAI clients read: {"error": {message, type, param, code}}, with our cure beside them."""

from typing import Any, Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError, RjepaError, StorageError
from rjepa.monitoring.runs import DagsterAwayError, LaunchError
from rjepa.reasoning.question import InvalidQuestionError
from serving.schemas import MAX_CHARACTERS, MAX_MESSAGES

_LOG = structlog.get_logger("serving")

_CURES: Final = {
    "model": "name a model that GET /v1/models lists",
    "messages": f"send 1 to {MAX_MESSAGES} messages; the last one with role user is the question",
    "messages.content": f"send text of at most {MAX_CHARACTERS} characters",
    "max_tokens": "ask for at least 1 token and no more than the max_tokens of GET /v1/info",
    "max_completion_tokens": "ask for at least 1 token and no more than the max_tokens of GET /v1/info",
    "temperature": "choose a temperature from 0 to 2",
    "n": "ask for one choice (n = 1); the candidates come in the reply's rjepa field",
    "rjepa.mode": "name a mode that GET /v1/info lists",
    "rjepa.seed": "choose a whole number from 0 to 2^53 - 1",
    "seed": "choose a whole number from 0 to 2^53 - 1",
}
_DEFAULT_CURE: Final = "see GET /openapi.json for the fields and their limits"
_HTTP_CURES: Final = {
    401: "send the key as Authorization: Bearer KEY",
    404: "see GET /openapi.json for the routes",
    405: "see GET /openapi.json for the routes and their methods",
    413: "send a shorter request",
}
_TYPES: Final = {401: "authentication_error", 429: "rate_limit_error"}


class NotReadyError(RjepaError):
    """No release is loaded."""


class BusyError(RjepaError):
    """Too many requests wait for the model."""


class OutOfDateError(RjepaError):
    """What the request takes for granted has changed since."""


class UnknownModelError(RjepaError):
    """The request names a model that is not served."""


_STATUS: Final[dict[type[RjepaError], tuple[int, str]]] = {
    InvalidInputError: (400, "invalid_value"),
    UnknownModelError: (404, "model_not_found"),
    OutOfDateError: (409, "out_of_date"),
    BusyError: (429, "busy"),
    DagsterAwayError: (503, "dagster_away"),
    LaunchError: (502, "launch_refused"),
    NotReadyError: (503, "not_ready"),
    NotFoundError: (503, "not_ready"),
    CorruptError: (503, "corrupt"),
    StorageError: (503, "storage"),
}


def error_body(
    problem: str, cure: str, *, status: int, code: str | None = None, param: str | None = None
) -> dict[str, dict[str, str | None]]:
    """The body of an error reply."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": f"{problem} -> {cure}", "type": kind, "param": param, "code": code, "cure": cure}}


def body_of(error: Exception) -> tuple[int, dict[str, Any]]:
    """Status and body for any exception. One that is not ours is logged and reported without its details."""
    if isinstance(error, RjepaError):
        status, code = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), (500, "error"))
        param = None
        if isinstance(error, InvalidQuestionError):
            param = f"rjepa.{error.field.removeprefix('options.')}" if _is_extension(error.field) else error.field
        return status, error_body(error.problem, error.cure, status=status, code=code, param=param)
    _LOG.error("failed", exc_info=error)
    return 500, error_body("the service failed", "see the service's log", status=500, code="internal_error")


def _is_extension(field: str) -> bool:
    """Whether a field of a question comes from the `rjepa` key of a body."""
    return field == "mode" or field.startswith("options.")


def install(app: FastAPI) -> None:
    """Give every error of `app` this shape."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RjepaError, _ours)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    status, body = body_of(error)
    headers = {"retry-after": "5"} if status in (429, 503) else None
    return JSONResponse(body, status_code=status, headers=headers)


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    problem = error.detail if error.status_code != 404 else "there is no such route"
    cure = _HTTP_CURES.get(error.status_code, _DEFAULT_CURE)
    body = error_body(problem, cure, status=error.status_code, code=f"http_{error.status_code}")
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """The first wrong field, with its cure. What was sent is not echoed."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    names = [str(part) for part in first["loc"][1:] if isinstance(part, str)]
    if first["type"] == "json_invalid":
        problem, cure, param = "the body is not valid JSON", "send one JSON object as application/json", None
    elif not names:
        cause = first.get("ctx", {}).get("error")
        problem = str(cause) if cause is not None else f"the body does not fit ({first['msg']})"
        cure, param = (_DEFAULT_CURE if cause is not None else "send one JSON object as application/json"), None
    else:
        param = ".".join(names)
        problem = f"{param}: {first['msg']}"
        cure = next((_CURES[key] for key in (param, ".".join(names[:2]), names[0]) if key in _CURES), _DEFAULT_CURE)
    return JSONResponse(error_body(problem, cure, status=400, code=first["type"], param=param), status_code=400)
