"""The server: uvicorn, with clients that send nothing shut out, and a stop that finishes what was begun."""

import asyncio
import contextlib
import json
import resource
import time
from collections import OrderedDict
from typing import Any, Final

import h11
import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.errors import error_body
from serving.host import EngineHost
from serving.limits import Admission
from serving.metrics import Metrics
from serving.settings import ServiceSettings

_LOG = structlog.get_logger("serving")
_LARGEST_HEAD: Final = 32 * 1024
"""Bytes of a request line and headers; a token of a few kilobytes fits many times."""
_IDLE_SECONDS: Final = 75
"""Between two requests of a connection: longer than proxies keep theirs, so that none asks on a closing one."""
_END_SECONDS: Final = 5
"""For streams that were told to end to write their last event."""
_TICK_SECONDS: Final = 0.05


class Reception:
    """The connections on which a request is awaited: new ones, and those that are kept open between two requests."""

    def __init__(self, max_connections: int, header_seconds: float, metrics: Metrics) -> None:
        self.max_connections = max_connections
        self.header_seconds = header_seconds
        self.metrics = metrics
        self._waiting: OrderedDict[int, PunctualProtocol] = OrderedDict()

    def begin(self, protocol: "PunctualProtocol") -> None:
        """A request is awaited on this connection from now on."""
        self._waiting[id(protocol)] = protocol
        self._waiting.move_to_end(id(protocol))

    def end(self, protocol: "PunctualProtocol") -> None:
        """A request has come, or the connection is over."""
        self._waiting.pop(id(protocol), None)

    def make_room(self, connections: int) -> None:
        """Where there are too many connections, close the one on which a request is awaited for longest."""
        if connections > self.max_connections and self._waiting:
            _, oldest = self._waiting.popitem(last=False)
            self.metrics.rejected("connections")
            oldest.transport.abort()


class PunctualProtocol(H11Protocol):
    """HTTP/1.1 whose requests' heads have to arrive in time, first byte to last, and be of bounded size."""

    config: "ServiceConfig"

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._reception = self.config.reception
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the first request."""
        super().connection_made(transport)
        self._reception.make_room(len(self.connections))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a head count against its time, those of a body against the body's (`serving.middleware`)."""
        super().data_received(data)
        if self._is_idle():
            self._await_head()
        else:
            self._head_is_here()

    def on_response_complete(self) -> None:
        """Between two requests the connection may be closed for another's sake; uvicorn's keep-alive time runs."""
        super().on_response_complete()
        if self._is_idle():
            self._reception.begin(self)

    def send_400_response(self, msg: str) -> None:
        """Bytes that are no HTTP: answered like any other error, or cut off in the middle of an answer."""
        self._reception.metrics.rejected("not_http")
        cure = f"speak HTTP/1.1, with at most {_LARGEST_HEAD} bytes of headers"
        body = json.dumps(error_body("this is not a valid HTTP request", cure, status=400, code="http_400")).encode()
        headers = [("content-type", "application/json"), ("connection", "close"), ("content-length", str(len(body)))]
        try:
            parts = [
                self.conn.send(h11.Response(status_code=400, headers=headers)),
                self.conn.send(h11.Data(data=body)),
                self.conn.send(h11.EndOfMessage()),
            ]
        except h11.LocalProtocolError:
            self.transport.abort()
            return
        self.transport.write(b"".join(part for part in parts if part))
        self.transport.close()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._reception.header_seconds, self._give_up)
            self._reception.begin(self)

    def _head_is_here(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._reception.end(self)

    def _give_up(self) -> None:
        self._timer = None
        if self._is_idle() and not self.transport.is_closing():
            self._reception.metrics.rejected("header_time")
            self.transport.abort()


class ServiceConfig(uvicorn.Config):
    """uvicorn's configuration for the app of `create_app`."""

    def __init__(self, app: FastAPI, settings: ServiceSettings, **more: Any) -> None:
        self.reception = Reception(settings.max_connections, settings.header_seconds, app.state.metrics)
        options: dict[str, Any] = {
            "host": settings.host,
            "port": settings.port,
            "http": PunctualProtocol,
            "ws": "none",
            "h11_max_incomplete_event_size": _LARGEST_HEAD,
            "log_level": "error",
            "access_log": False,
            "server_header": False,
            "proxy_headers": bool(settings.trusted_proxies),
            "forwarded_allow_ips": list(settings.trusted_proxies),
            "timeout_keep_alive": _IDLE_SECONDS,
            "timeout_graceful_shutdown": _END_SECONDS,
        }
        super().__init__(app, **(options | more))


class GracefulServer(uvicorn.Server):
    """A server that stops in this order: no new questions; running answers end; streams are told; exit."""

    def __init__(self, app: FastAPI, settings: ServiceSettings, **more: Any) -> None:
        super().__init__(ServiceConfig(app, settings, **more))
        self._host: EngineHost = app.state.host
        self._admission: Admission = app.state.admission
        self._grace_seconds = settings.grace_seconds

    async def shutdown(self, sockets: Any = None) -> None:
        """Finish what was begun within the grace period; a second Ctrl-C ends it."""
        self._admission.stopping = True
        deadline = time.monotonic() + self._grace_seconds
        _LOG.info("stopping", in_flight=self._admission.in_flight, grace_seconds=self._grace_seconds)
        while self._admission.in_flight and time.monotonic() < deadline and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(_TICK_SECONDS)
        self._host.end_answers()
        await super().shutdown(sockets)
        _LOG.info("stopped")


def raise_file_limit(max_connections: int) -> None:
    """Let this process hold so many connections, as far as the machine allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * max_connections + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
            )
