"""Pure-ASGI guards around the app: request ids and headers, host names, the key, the size of a body.

Pure ASGI, not BaseHTTPMiddleware: streams and cancellation pass through untouched. Each guard authorises on
`scope["path"]`, the value that routing uses, and never on a URL put together from headers.
"""

import hashlib
import hmac
import re
import time
import uuid
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import body_of, error_body

_LOG = structlog.get_logger("serving")

OPEN_PATHS: Final = frozenset({"/", "/monitor", "/v1/health", "/v1/ready"})
OPEN_FOLDER: Final = "/static/"
"""All else asks for the key when one is set: an allow-list, so that a new route is guarded without anyone's doing."""

SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

_HOST = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")


class RequestContext:
    """Outermost: a request id, security headers, one log line without content, and an answer to any fault."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, started, status = uuid.uuid4().hex, time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers["x-request-id"] = request_id
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            code, body = body_of(error)
            if status:
                raise
            await JSONResponse(body, status_code=code)(scope, receive, send_with_headers)
        finally:
            milliseconds = round(1000 * (time.perf_counter() - started), 1)
            route = getattr(scope.get("route"), "path", "-")
            _LOG.info("request", id=request_id, method=scope["method"], route=route, status=status, ms=milliseconds)


class AllowedHosts:
    """Answer only to names that this service is known by: a page elsewhere cannot rebind its name to it."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._hosts is not None:
            match = _HOST.fullmatch(Headers(scope=scope).get("host", "").lower())
            if match is None or match["name"].strip("[]") not in self._hosts:
                cure = "use the address that `rjepa serve` prints, or add this name to RJEPA_ALLOWED_HOSTS"
                body = error_body(
                    "this service does not answer to that host name", cure, status=400, code="invalid_host"
                )
                await JSONResponse(body, status_code=400)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class ApiKey:
    """Ask for `Authorization: Bearer KEY` on every route that is not open."""

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self._app = app
        self._digest = None if key is None else hashlib.sha256(key.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._digest is not None and not _is_open(scope["path"]):
            scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            digest = hashlib.sha256(given.strip().encode()).digest()
            # Digests have one length, so the comparison tells nothing of the key, its length included.
            if not hmac.compare_digest(digest, self._digest) or scheme.lower() != "bearer":
                body = error_body(
                    "the API key is missing or wrong",
                    "send the key as Authorization: Bearer KEY",
                    status=401,
                    code="invalid_api_key",
                )
                headers = {"www-authenticate": "Bearer"}
                await JSONResponse(body, status_code=401, headers=headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class BodyLimit:
    """Count the bytes as they come: a body without a length is cut off at the same size."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._max_bytes:
                    raise HTTPException(413, f"the body is larger than {self._max_bytes} bytes")
            return message

        await self._app(scope, counted, send)


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or (path.startswith(OPEN_FOLDER) and ".." not in path)
