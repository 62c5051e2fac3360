"""What one HTTP attempt may do: wait its turn, reach permitted addresses only, and end in time and size, whole.

The openai client's retries pass through here too, so that they keep to the rate limits and are counted. Redirects and
keys are dealt with in `client`, costs in `calls`.
"""

import asyncio
import ipaddress
from contextvars import ContextVar
from typing import Final

import httpx2

from rjepa.addresses import is_metadata, refused_address
from rjepa.teacher.limits import RateLimits, Turn
from rjepa.teacher.settings import Teacher

TURN: ContextVar[Turn] = ContextVar("turn")
"""The call that an attempt belongs to: the openai client in between knows nothing of it."""

_MOST_BYTES: Final = 16 << 20
"""Of one answer. A million tokens of text is less."""


class RefusedAddressError(httpx2.TransportError):
    """The endpoint's name leads to a metadata service."""


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Every attempt, retries included, waits for its turn and ends in time, whole and from a permitted address."""

    def __init__(self, limits: RateLimits, teacher: Teacher) -> None:
        connections = httpx2.Limits(max_connections=teacher.concurrency, max_keepalive_connections=teacher.concurrency)
        self._inner = httpx2.AsyncHTTPTransport(limits=connections, trust_env=False)
        self._limits, self._seconds = limits, teacher.timeout

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        turn = TURN.get()
        if turn.tokens:  # listing models is not a call to a model
            await self._limits.admit(turn)
        turn.attempts += 1
        before = turn.doubtful
        try:
            async with asyncio.timeout(self._seconds):
                await self._check_name(request)
                turn.doubtful += 1
                response = await self._whole(request)
        except TimeoutError:
            raise httpx2.ReadTimeout("the answer took too long as a whole", request=request) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
            turn.doubtful = before  # nothing was sent
            raise
        turn.doubtful = before
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _check_name(self, request: httpx2.Request) -> None:
        try:
            refused = await refused_address(request.url.host, request.url.port or 443)
        except OSError as error:
            raise httpx2.ConnectError(f"{request.url.host} cannot be resolved", request=request) from error
        if refused is not None:
            raise RefusedAddressError(f"{request.url.host} leads to {refused}, a metadata address", request=request)

    async def _whole(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        try:
            self._check_peer(response, request)
            if response.headers.get("content-encoding", "identity") != "identity":
                raise httpx2.RemoteProtocolError("a compressed answer, which was not asked for", request=request)
            parts, size = [], 0
            async for part in response.aiter_raw():
                parts.append(part)
                size += len(part)
                if size > _MOST_BYTES:
                    raise httpx2.RemoteProtocolError(f"an answer of more than {_MOST_BYTES} bytes", request=request)
        finally:
            await response.aclose()
        return httpx2.Response(
            response.status_code,
            headers=[(k, v) for k, v in response.headers.raw if k.lower() != b"transfer-encoding"],
            content=b"".join(parts),
            request=request,
        )

    def _check_peer(self, response: httpx2.Response, request: httpx2.Request) -> None:
        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream is not None else None
        if peer and is_metadata(ipaddress.ip_address(str(peer[0]).split("%")[0])):
            raise RefusedAddressError(f"{peer[0]} answered, a metadata address", request=request)
