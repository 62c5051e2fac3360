"""How much each client may ask: questions and tokens a minute, and how many at a time. None of it is written down."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access import Principal, rule_of
from serving.context import current_request, set_current_request
from serving.metrics import Metrics
from serving.refusals import refuse
from serving.settings import ServiceSettings

_MOST_CLIENTS: Final = 10_000
"""Remembered at a time; the one that was idle for longest is forgotten first."""


class Bucket:
    """So many a minute: full at first, filled evenly. It may go below nothing, and then has to come back first."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._at = now

    def level(self, now: float) -> float:
        """What may be taken now."""
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / 60)
        self._at = now
        return self._level

    def take(self, amount: float, now: float) -> None:
        """Take so much, whether it is there or not."""
        self._level = self.level(now) - amount

    def seconds_to(self, level: float, now: float) -> float:
        """Seconds until so much is there."""
        return max(0.0, (level - self.level(now)) * 60 / self.per_minute)


@dataclass
class ClientMeter:
    """What one client has used. `None` for what is not limited."""

    requests: Bucket | None
    tokens: Bucket | None
    clock: Callable[[], float]
    in_flight: int = 0

    def spend(self, tokens: int) -> None:
        """Count tokens that were read or written for the client."""
        if self.tokens is not None:
            self.tokens.take(tokens, self.clock())

    def headers(self) -> dict[str, str]:
        """What is left, in the headers that OpenAI's clients know."""
        now, found = self.clock(), {}
        for name, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None:
                found[f"x-ratelimit-limit-{name}"] = str(bucket.per_minute)
                found[f"x-ratelimit-remaining-{name}"] = str(max(0, math.floor(bucket.level(now))))
                found[f"x-ratelimit-reset-{name}"] = f"{bucket.seconds_to(bucket.per_minute, now):.3f}s"
        return found


@dataclass(frozen=True)
class Refusal:
    """Why a question is not taken now, and in how many seconds to ask again."""

    reason: str
    problem: str
    cure: str
    retry: float
    status: int = 429


@dataclass
class Admission:
    """Takes questions in, or says why not. `seconds_a_question` is what recent ones took."""

    settings: ServiceSettings
    seconds_a_question: Callable[[], float]
    clock: Callable[[], float] = time.monotonic
    in_flight: int = 0
    stopping: bool = False
    _meters: OrderedDict[str, ClientMeter] = field(default_factory=OrderedDict)

    def meter(self, principal: Principal) -> ClientMeter:
        """What this client has used so far."""
        requests = principal.requests_per_minute or self.settings.requests_per_minute
        tokens = principal.tokens_per_minute or self.settings.tokens_per_minute
        known = self._meters.get(principal.client)
        if known is None or (known.in_flight == 0 and _limits(known) != (requests, tokens)):
            now = self.clock()
            buckets = [Bucket(limit, now) if limit else None for limit in (requests, tokens)]
            known = self._meters[principal.client] = ClientMeter(buckets[0], buckets[1], self.clock)
        self._meters.move_to_end(principal.client)
        self._forget()
        return known

    def refusal(self, meter: ClientMeter) -> Refusal | None:
        """Why this client's next question is not taken now; None where it is."""
        now, again = self.clock(), "ask again after the seconds of Retry-After"
        if self.stopping:
            return Refusal("stopping", "the service is stopping", "try again when it is back", 5.0, 503)
        if meter.in_flight >= self.settings.max_in_flight:
            problem = f"{meter.in_flight} questions of yours are answered or wait already"
            return Refusal("in_flight", problem, f"wait for one of them, or {again}", self.seconds_a_question())
        if self.in_flight >= self.settings.max_waiting:
            problem = f"{self.in_flight} questions wait for the model already"
            return Refusal("queue", problem, again, self.seconds_a_question() * self.in_flight)
        if meter.requests is not None and meter.requests.level(now) < 1:
            problem = f"{meter.requests.per_minute} questions a minute are asked already"
            return Refusal("requests", problem, again, meter.requests.seconds_to(1, now))
        if meter.tokens is not None and meter.tokens.level(now) <= 0:
            problem = f"{meter.tokens.per_minute} tokens a minute are used already"
            return Refusal("tokens", problem, again, meter.tokens.seconds_to(1, now))
        return None

    def enter(self, meter: ClientMeter) -> None:
        """Take a question in."""
        if meter.requests is not None:
            meter.requests.take(1, self.clock())
        meter.in_flight += 1
        self.in_flight += 1

    def leave(self, meter: ClientMeter) -> None:
        """A question is answered, or given up."""
        meter.in_flight -= 1
        self.in_flight -= 1

    def _forget(self) -> None:
        while len(self._meters) > _MOST_CLIENTS:
            idle = next((client for client, meter in self._meters.items() if meter.in_flight == 0), None)
            if idle is None:
                return
            del self._meters[idle]


class Limits:
    """The guard of the routes that cost the model's time. It stands inside the others: who comes here is known."""

    def __init__(self, app: ASGIApp, admission: Admission, metrics: Metrics) -> None:
        self._app = app
        self._admission = admission
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not rule_of(scope["method"], scope["path"]).asks_model:
            await self._app(scope, receive, send)
            return
        meter = self._admission.meter(scope["state"]["principal"])
        refusal = self._admission.refusal(meter)
        if refusal is not None:
            self._metrics.rejected(refusal.reason)
            code = "not_ready" if refusal.status == 503 else "rate_limit_exceeded"
            await refuse(
                refusal.problem,
                refusal.cure,
                status=refusal.status,
                code=code,
                headers=meter.headers(),
                retry=refusal.retry,
            )(scope, receive, send)
            return

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(meter.headers())
            await send(message)

        self._admission.enter(meter)
        self._metrics.in_flight.inc()
        set_current_request(replace(current_request(), meter=meter))
        try:
            await self._app(scope, receive, send_with_limits)
        finally:
            self._admission.leave(meter)
            self._metrics.in_flight.dec()


def _limits(meter: ClientMeter) -> tuple[int, int]:
    return (
        0 if meter.requests is None else meter.requests.per_minute,
        0 if meter.tokens is None else meter.tokens.per_minute,
    )
