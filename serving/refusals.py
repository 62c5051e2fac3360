"""Replies of the guards, in the shape of every other error."""

import math

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from rjepa.errors import RjepaError
from serving.errors import body_of, error_body


def refuse(
    problem: str,
    cure: str,
    *,
    status: int,
    code: str,
    headers: dict[str, str] | None = None,
    retry: float | None = None,
) -> JSONResponse:
    """An error reply. `retry` is the seconds after which to try again."""
    headers = dict(headers or {})
    if retry is not None:
        headers["retry-after"] = str(max(1, math.ceil(retry)))
    return JSONResponse(error_body(problem, cure, status=status, code=code), status_code=status, headers=headers)


async def refuse_error(error: RjepaError, scope: Scope, receive: Receive, send: Send) -> None:
    """Reply with an error of ours."""
    status, body = body_of(error)
    headers = {"retry-after": "5"} if status in (429, 503) else None
    await JSONResponse(body, status_code=status, headers=headers)(scope, receive, send)
