"""Replies of the guards, in the shape of every other error."""

import math

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from rjepa.errors import RjepaError
from serving.errors import error_body, reply_of


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
    await reply_of(error)(scope, receive, send)
