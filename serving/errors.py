"""Errors in the shape that OpenAI clients read: {"error": {message, type, param, code}}, with our cure beside them."""

import re
from typing import Any, Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError, RjepaError, StorageError, TooLongError
from rjepa.feedback.records import NotKeptError, OptedOutError, OutdatedConsentError
from rjepa.living.served_loras import LorasMovedError
from rjepa.monitoring.dagster import DagsterAwayError, LaunchError
from rjepa.reasoning.question import InvalidQuestionError
from rjepa.releases.pointer import ReleaseMovedError
from rjepa.sampling.endpoint_loras import EndpointLoraError
from serving.access import nearest_route

_LOG = structlog.get_logger("serving")

_WHOLE: Final = "choose a whole number of tokens, 1 or more"
_CURES: Final = {
    "model": "name a model that GET /v1/models lists",
    "messages": "send the conversation as a list of messages; the last one with role user is the question",
    "messages.role": "choose system, developer, user, assistant or tool",
    "messages.content": 'send text, or a list of parts of type "text"',
    "input": "send text, or a list of messages; the last one with role user is the question",
    "max_tokens": _WHOLE,
    "max_completion_tokens": _WHOLE,
    "max_output_tokens": _WHOLE,
    "temperature": "choose a temperature from 0 to 2",
    "top_p": "choose a number from 0 to 1",
    "n": "choose a whole number from 1 to 64",
    "seed": "choose a whole number",
    "stop": "send one text, or up to 16",
    "rjepa.mode": "name a mode that GET /v1/info lists",
    "rjepa.seed": "choose a whole number from 0 to 2^53 - 1",
}
_FIELD: Final = re.compile(r"[a-z][a-z0-9_]*")
_DEFAULT_CURE: Final = "see GET /openapi.json for the fields and their limits"
_UNREADABLE: Final = "the body cannot be read as JSON"
_HTTP_CURES: Final = {
    400: "send one JSON object in UTF-8, nested no deeper than a request needs",
    404: "see GET /openapi.json for the routes",
    405: "see GET /openapi.json for the routes and their methods",
}


class ErrorDetails(BaseModel):
    """What went wrong. `message` ends with the cure, `param` names the field."""

    message: str
    type: str
    param: str | None
    code: str | None
    cure: str


class ErrorReply(BaseModel):
    """The body of every error, in OpenAI's shape."""

    error: ErrorDetails


DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorReply, "description": what}
    for status, what in {
        400: "the request cannot be answered; the message says how to mend it",
        401: "the key is missing or wrong",
        404: "there is no such model, route or value",
        405: "the route does not know this method",
        403: "the key's role does not suffice, or a page elsewhere asks",
        408: "the body did not arrive in time",
        409: "what the request takes for granted has changed since",
        413: "the body is too large",
        415: "the body is not JSON",
        429: "too many requests of this client, or of all, at a time or a minute",
        500: "the service failed; its log says why",
        502: "Dagster, or the endpoint of the student, refuses what was asked of it",
        503: "no release can be served at this moment, or the service is stopping",
        504: "the answer took longer than a request may",
    }.items()
}
"""What every route may reply beside its own, for the OpenAPI document."""

_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class NotReadyError(RjepaError):
    """No release is loaded."""


class TimedOutError(RjepaError):
    """The request's time is up."""


class UnknownModelError(RjepaError):
    """The request names a model that is not served."""


class LoraRefusedError(RjepaError):
    """A LoRA is not what it was sealed as."""


class GoneError(RjepaError):
    """The request names something that was stored and is not any more, or never was."""


_STATUS: Final[dict[type[RjepaError], tuple[int, str]]] = {
    InvalidInputError: (400, "invalid_value"),
    TooLongError: (400, "context_length_exceeded"),  # clients that shorten a conversation look for this code
    UnknownModelError: (404, "model_not_found"),
    ReleaseMovedError: (409, "out_of_date"),
    GoneError: (404, "not_found"),
    LoraRefusedError: (409, "lora_refused"),
    LorasMovedError: (409, "out_of_date"),
    EndpointLoraError: (502, "endpoint"),
    NotKeptError: (404, "not_found"),
    OptedOutError: (409, "opted_out"),
    OutdatedConsentError: (409, "out_of_date"),
    TimedOutError: (504, "timeout"),
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


def reply_of(error: Exception) -> JSONResponse:
    """The whole reply for any exception. What is away for a moment (503) says when to try again."""
    status, body = body_of(error)
    return JSONResponse(body, status_code=status, headers={"retry-after": "5"} if status == 503 else None)


def _is_extension(field: str) -> bool:
    """Whether a field of a question comes from the `rjepa` key of a body."""
    return field == "mode" or field.startswith("options.")


def install(app: FastAPI) -> None:
    """Give every error of `app` this shape."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RjepaError, _ours)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    return reply_of(error)


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    # Starlette's own words would say less: 400 is a body that its parser gave up on.
    problem = {400: _UNREADABLE, 404: "there is no such route"}.get(error.status_code, error.detail)
    cure = _HTTP_CURES.get(error.status_code, _DEFAULT_CURE)
    if error.status_code == 404 and (meant := nearest_route(request.scope["path"])) is not None:
        cure = f"use {meant}: a client's base_url ends with /v1, without a slash"
    body = error_body(problem, cure, status=error.status_code, code=f"http_{error.status_code}")
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


def _is_field(part: str) -> bool:
    """Whether a part of pydantic's place of an error is a field, and not one of the types that it could have had."""
    return _FIELD.fullmatch(part) is not None and part not in ("str", "int", "float", "bool", "list", "dict")


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """The first wrong field, with its cure. What was sent is not echoed."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    names = [part for part in first["loc"][1:] if isinstance(part, str) and _is_field(part)]
    if first["type"] == "json_invalid":
        problem, cure, param = "the body is not valid JSON", "send one JSON object as application/json", None
    elif not names:
        cause = first.get("ctx", {}).get("error")
        problem = str(cause) if cause is not None else f"the body does not fit ({first['msg']})"
        cure, param = (_DEFAULT_CURE if cause is not None else "send one JSON object as application/json"), None
    else:
        param = ".".join(names)
        problem = f"{param}: {first['msg'].removeprefix('Value error, ')}"
        cure = next((_CURES[key] for key in (param, ".".join(names[:2]), names[0]) if key in _CURES), _DEFAULT_CURE)
    return JSONResponse(error_body(problem, cure, status=400, code=first["type"], param=param), status_code=400)
