"""What one HTTP attempt may do: wait its turn, reach permitted addresses only, and end in time and size, whole.

What comes back is either an answer or an error with an honest status, so that the openai client's own retries apply.

The openai client's retries pass through here too, so that they keep to the rate limits and are counted. Redirects and
keys are dealt with in `client`, costs in `calls`.
"""

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import Final

import httpx2

from rjepa.addresses import is_metadata, refused_address
from rjepa.teacher.limits import CallUsage, RateLimits
from rjepa.teacher.quotas import is_used_up, seconds_to_wait
from rjepa.teacher.refusals import hidden_error
from rjepa.teacher.settings import Teacher

USAGE: ContextVar[CallUsage] = ContextVar("usage")
"""The call that an attempt belongs to: the openai client in between knows nothing of it."""
HIDDEN_REASON: Final = "x-rjepa-reason"
"""Header, of our own making, of an error that came with a status of success: why it is none."""

_MAX_BYTES: Final = 16 << 20
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
        """Make one attempt. An error with a status of success gets a status of its own, as others have it."""
        usage = USAGE.get()
        if usage.tokens:  # listing models is not a call to a model
            await self._limits.admit(usage)
        usage.attempts += 1
        before = usage.doubtful
        try:
            async with asyncio.timeout(self._seconds):
                await self._check_name(request)
                usage.doubtful += 1
                response = await self._answer(request, usage.streams)
        except TimeoutError:
            raise httpx2.ReadTimeout("the answer took too long as a whole", request=request) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
            usage.doubtful = before  # nothing was sent
            raise
        usage.doubtful = before
        if usage.tokens and response.is_success and not isinstance(response.stream, _Events):
            response = _as_error(response, usage)
        return _with_hints(response)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()

    async def _check_name(self, request: httpx2.Request) -> None:
        try:
            refused = await refused_address(request.url.host, request.url.port or 443)
        except OSError as error:
            raise httpx2.ConnectError(f"{request.url.host} cannot be resolved", request=request) from error
        if refused is not None:
            raise RefusedAddressError(f"{request.url.host} leads to {refused}, a metadata address", request=request)

    async def _answer(self, request: httpx2.Request, streams: bool) -> httpx2.Response:
        """The answer, whole; with `streams`, one of server-sent events as far as its headers."""
        response = await self._inner.handle_async_request(request)
        handed_over = False
        try:
            self._check_peer(response, request)
            if response.headers.get("content-encoding", "identity") != "identity":
                raise httpx2.RemoteProtocolError("a compressed answer, which was not asked for", request=request)
            headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"transfer-encoding"]
            events = _Events(response, request)
            is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
            if streams and is_stream and response.is_success:
                handed_over = True
                return httpx2.Response(response.status_code, headers=headers, stream=events, request=request)
            content = b"".join([part async for part in events])
        finally:
            if not handed_over:
                await response.aclose()
        return httpx2.Response(response.status_code, headers=headers, content=content, request=request)

    def _check_peer(self, response: httpx2.Response, request: httpx2.Request) -> None:
        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream is not None else None
        if peer and is_metadata(ipaddress.ip_address(str(peer[0]).split("%")[0])):
            raise RefusedAddressError(f"{peer[0]} answered, a metadata address", request=request)


class _Events(httpx2.AsyncByteStream):
    """The bytes of an answer as they come, up to a limit."""

    def __init__(self, response: httpx2.Response, request: httpx2.Request) -> None:
        self._response, self._request = response, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._response.aiter_raw():
            size += len(part)
            if size > _MAX_BYTES:
                raise httpx2.RemoteProtocolError(f"an answer of more than {_MAX_BYTES} bytes", request=self._request)
            yield part

    async def aclose(self) -> None:
        await self._response.aclose()


def body_text(response: httpx2.Response) -> str:
    """A body as text. JSON is UTF-8, whatever the header claims; other text is read as the header says."""
    try:
        return response.content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return response.text


def _as_error(response: httpx2.Response, usage: CallUsage) -> httpx2.Response:
    """The response itself where it holds an answer; else the same body with the status that it should have had."""
    error = hidden_error(body_text(response))
    if error is None:
        return response
    usage.doubtful += error.is_doubtful
    headers = [*response.headers.raw, (HIDDEN_REASON.encode(), error.reason.encode())]
    return httpx2.Response(error.status, headers=headers, content=response.content, request=response.request)


def _with_hints(response: httpx2.Response) -> httpx2.Response:
    """Put into headers, which the openai client reads, what an error says in its body about trying again."""
    if not response.is_error:
        return response
    body = body_text(response)
    if is_used_up(response.status_code, body, wait_of(response)):
        response.headers["x-should-retry"] = "false"
    elif wait_of(response) is None and (wait := seconds_to_wait(body)) is not None:
        response.headers["retry-after"] = f"{wait:g}"
    return response


def wait_of(response: httpx2.Response) -> float | None:
    """Seconds that a response's headers ask to wait; None where they ask for nothing that can be understood."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            return float(response.headers[name]) * unit
    with contextlib.suppress(KeyError, ValueError, TypeError, OverflowError):
        moment = parsedate_to_datetime(response.headers["retry-after"])
        return moment.timestamp() - time.time()
    return None
