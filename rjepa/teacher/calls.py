"""One call to a teacher, paid for once: look it up, reserve, ask, keep the whole answer, settle.

The key of a call is its content: teacher, model, prompt, sample. An answer that is kept is never asked for again. A
call that a kill caught in flight is, and its reservation stays counted: it is unknown whether it was billed.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from rjepa.database import open_database
from rjepa.files import sha256_json
from rjepa.home import Home
from rjepa.teacher.client import Endpoint
from rjepa.teacher.completion import Reply, read_completion
from rjepa.teacher.errors import CallError, TeacherError
from rjepa.teacher.ledger import Cost, Ledger, StoredReply, open_ledger
from rjepa.teacher.limits import CallUsage
from rjepa.teacher.pricing import check_priced, estimated_token_count, largest_token_count, price
from rjepa.teacher.settings import Teacher, variable_part

_OPTIONAL: Final = ("temperature", "seed", "response_format")
"""Fields that a model may refuse: without them it still answers, and the prompt still says what is wanted."""

Message = dict[str, str]


@dataclass(frozen=True)
class Call:
    """What is asked of a teacher. Equal calls have equal keys; `sample` tells repetitions apart."""

    teacher: Teacher
    messages: tuple[Message, ...]
    sample: int = 0
    schema: dict[str, Any] | None = field(default=None, hash=False)

    def body(self) -> dict[str, Any]:
        """The request as it is sent, but for fields that the model turns out to refuse."""
        teacher = self.teacher
        body: dict[str, Any] = {
            "model": teacher.model,
            "messages": list(self.messages),
            "temperature": teacher.temperature,
            "seed": self.sample,
            teacher.token_limit_field: teacher.max_tokens,
        }
        if teacher.temperature is None:
            del body["temperature"]
        if self.schema is not None and teacher.reply == "json_schema":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": self.schema},
            }
        elif self.schema is not None and teacher.reply == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def key(self) -> str:
        """Hex SHA-256 of teacher, model, prompt and sample."""
        return sha256_json({"teacher": self.teacher.name, "sample": self.sample, "body": self.body()})


class Caller:
    """The teachers of one job and its ledger. Open it with `open_caller`."""

    def __init__(self, ledger: Ledger, teachers: list[Teacher]) -> None:
        self.events: Counter[str] = Counter()
        """How often a call was answered (`asked`), taken from the ledger (`from_ledger`) or failed, by its reason."""
        self._ledger = ledger
        self._endpoints = {teacher.name: Endpoint(teacher) for teacher in teachers}
        self._in_flight: dict[str, asyncio.Task[Reply]] = {}

    @property
    def spent(self) -> int:
        """Nano-dollars that the job has spent so far."""
        return self._ledger.spent

    async def reply(self, call: Call) -> Reply:
        """The answer to a call: from the ledger if it was ever given, else from the teacher.

        Raises:
            CallError: no usable answer. A later run asks again.
            BudgetError: the worst case of the call does not fit the budget.
            InvalidInputError: another process took the job over.
            StorageError: the database cannot be written.
        """
        key = call.key()
        if key not in self._in_flight:
            task = asyncio.create_task(self._found_or_asked(call, key))
            self._in_flight[key] = task
            task.add_done_callback(lambda _: self._in_flight.pop(key, None))
        return await self._in_flight[key]

    async def aclose(self) -> None:
        """Give up what is in flight and close the connections."""
        in_flight = list(self._in_flight.values())
        for task in in_flight:
            task.cancel()
        await asyncio.gather(*in_flight, return_exceptions=True)
        for endpoint in self._endpoints.values():
            await endpoint.aclose()

    async def _found_or_asked(self, call: Call, key: str) -> Reply:
        stored = await self._ledger.find(key)
        if stored is not None:
            self.events["from_ledger"] += 1
            return _read(stored)
        return _read(await self._ask(call, key))

    async def _ask(self, call: Call, key: str) -> StoredReply:
        teacher, endpoint = call.teacher, self._endpoints[call.teacher.name]
        texts = [message["content"] for message in call.messages]
        worst_attempt = price(teacher, largest_token_count(texts), teacher.max_tokens)
        usage = CallUsage(estimated_token_count(texts) + teacher.max_tokens)
        reservation = await self._ledger.reserve(key, teacher.name, worst_attempt * (1 + teacher.max_retries))
        try:
            body = await endpoint.ask(call.body(), key, usage, optional=_OPTIONAL)
            usage.doubtful += 1  # an answer without a message was made all the same, and perhaps billed
            reply = read_completion(body)
            usage.doubtful -= 1
        except CallError as error:
            endpoint.limits.settle(usage, usage.tokens * usage.doubtful)
            doubtful = worst_attempt * usage.doubtful
            cost = Cost(doubtful, doubtful, usage.attempts)
            await self._ledger.keep_failure(reservation, cost, error.reason, error.detail)
            self.events[error.reason] += 1
            raise
        prompt, completion = _used(texts, reply)
        endpoint.limits.settle(usage, prompt + completion + usage.tokens * usage.doubtful)
        doubtful = worst_attempt * usage.doubtful
        nano = price(teacher, prompt, completion) + doubtful
        self.events["above_reserve"] += nano > reservation.worst
        stored = await self._ledger.keep_reply(
            reservation, Cost(nano, doubtful, usage.attempts, prompt, completion), call.body(), body
        )
        self.events["asked"] += 1
        return stored


@contextlib.asynccontextmanager
async def open_caller(home: Home, job: str, teachers: list[Teacher], budget_usd: float) -> AsyncIterator[Caller]:
    """The caller of a job, with everything that was ever paid for in it.

    Raises:
        InvalidInputError: the job runs elsewhere, or a teacher's prices are not known.
        CorruptError, StorageError: the database cannot be read or written.
    """
    for teacher in teachers:
        check_priced(teacher)
    with open_database(home) as database:
        async with open_ledger(database, job, budget_usd) as ledger:
            caller = Caller(ledger, teachers)
            try:
                yield caller
            finally:
                await caller.aclose()


def stop_for(error: CallError, teacher: Teacher) -> TeacherError:
    """What to tell a user whose teacher refuses every call."""
    name = variable_part(teacher.name)
    key = f"TEACHER_{name}_API_KEY"
    cures = {
        "quota_used_up": "raise the quota, the balance or the limit at the provider, or wait until it is renewed, then"
        " run the same job again: what was paid for is kept",
        "http_401": f"check {key}",
        "http_403": f"check {key} and what it may use",
        "http_404": f"check TEACHER_{name}_BASE_URL (up to and with /v1) and TEACHER_{name}_MODEL",
        "http_429": "run the same job again when that time is over: what was paid for is kept",
        "http_503": "run the same job again when that time is over: what was paid for is kept",
    }
    cure = cures.get(error.reason, f"check TEACHER_{name}_BASE_URL: redirects and metadata addresses are not followed")
    return TeacherError(f"teacher {teacher.name!r} refuses every call ({error})", cure=cure)


def _read(stored: StoredReply) -> Reply:
    return read_completion(stored.body).received(stored.at)


def _used(texts: list[str], reply: Reply) -> tuple[int, int]:
    """Tokens of prompt and completion: what the endpoint claims or our own count, whichever is more."""
    written = estimated_token_count([reply.text, reply.thinking])
    return max(reply.prompt_tokens or 0, estimated_token_count(texts)), max(reply.completion_tokens or 0, written)
