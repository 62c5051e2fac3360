"""What is known of the request that is being answered: its id, who sent it, until when, and whom its tokens count for.

The guards set it; the host, logs and errors read it. It travels in a context variable: no route has to pass it on.
"""

import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol


class Meter(Protocol):
    """Counts a client's tokens."""

    def spend(self, tokens: int) -> None:
        """Count tokens that were read or written for the client."""


@dataclass(frozen=True)
class RequestInfo:
    """One request. `client` is whom it is counted for: a key, a token's subject, or an address."""

    request_id: str = "-"
    client: str = "-"
    deadline: float | None = None
    meter: Meter | None = None

    def seconds_left(self) -> float | None:
        """Seconds until the request's time is up; None where it has none."""
        return None if self.deadline is None else self.deadline - time.monotonic()


_CURRENT: Final[ContextVar[RequestInfo]] = ContextVar("rjepa_request", default=RequestInfo())  # noqa: B039 - frozen


def current_request() -> RequestInfo:
    """The request that this task answers; an empty one outside of requests."""
    return _CURRENT.get()


def set_current_request(request: RequestInfo) -> None:
    """Say what is known now, for what is called from here on."""
    _CURRENT.set(request)
