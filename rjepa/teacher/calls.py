"""One call to a teacher, paid for once: look it up, reserve, ask, write the whole answer down, settle.

The key of a call is its content: teacher, model, prompt, sample. An answer that is in the journal is never asked for
again. A call that a kill caught in flight is, and its reservation stays counted: nobody can tell whether it was billed.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rjepa.files import sha256_json
from rjepa.teacher.client import CallError, Endpoint, Reply, TeacherError, read_completion
from rjepa.teacher.journal import Entry, Journal
from rjepa.teacher.ledger import Ledger, Spending, check_priced, likely_tokens, most_tokens, price, spending
from rjepa.teacher.limits import Turn
from rjepa.teacher.settings import Teacher

JOURNAL: Final = "calls.jsonl"

_MONEY: Final = ("event", "key", "teacher", "nano", "doubtful_nano", "above_reserve")
_ANSWER: Final = ("reply", "at")

Message = dict[str, str]


@dataclass(frozen=True)
class Call:
    """What is asked of a teacher. Equal calls have equal keys; `sample` tells repetitions apart."""

    teacher: Teacher
    messages: tuple[Message, ...]
    sample: int = 0
    schema: dict[str, Any] | None = field(default=None, hash=False)

    def body(self) -> dict[str, Any]:
        """The request as it is sent."""
        teacher = self.teacher
        body: dict[str, Any] = {
            "model": teacher.model,
            "messages": list(self.messages),
            "temperature": teacher.temperature,
            "seed": self.sample,
            teacher.token_limit_field: teacher.max_tokens,
        }
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
    """The teachers of one job, its journal and its ledger. Open it with `open_caller`."""

    def __init__(self, journal: Journal, teachers: list[Teacher], budget_usd: float) -> None:
        for teacher in teachers:
            check_priced(teacher)
        self._journal = journal
        self._replied: dict[str, Entry] = {}
        self._entries: list[Entry] = []
        for entry, _ in journal.entries:
            self._keep(entry)
        journal.entries.clear()
        self.ledger = Ledger(budget_usd, self.spending().spent)
        self._endpoints = {teacher.name: Endpoint(teacher) for teacher in teachers}
        self._flying: dict[str, asyncio.Task[Reply]] = {}
        self.events: Counter[str] = Counter()

    async def reply(self, call: Call) -> Reply:
        """The answer to a call: from the journal if it was ever given, else from the teacher.

        Raises:
            CallError: no usable answer. Where none was received, a later run asks again.
            BudgetError: the worst case of the call does not fit the budget.
            StorageError: the journal cannot be written.
        """
        key = call.key()
        known = self._replied.get(key)
        if known is not None:
            self.events["from_journal"] += 1
            return _read(known)
        if key not in self._flying:
            task = asyncio.create_task(self._ask(call, key))
            self._flying[key] = task
            task.add_done_callback(lambda _: self._flying.pop(key, None))
        return await self._flying[key]

    def spending(self) -> Spending:
        """What this and earlier runs of the job spent so far."""
        return spending(self._entries)

    async def aclose(self) -> None:
        """Give up what is in flight, close connections and journal."""
        flying = list(self._flying.values())
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)
        for endpoint in self._endpoints.values():
            await endpoint.aclose()
        await self._journal.close()

    async def _ask(self, call: Call, key: str) -> Reply:
        teacher, endpoint = call.teacher, self._endpoints[call.teacher.name]
        texts = [message["content"] for message in call.messages]
        one = price(teacher, most_tokens(texts), teacher.max_tokens)
        worst = one * (1 + teacher.max_retries)
        turn = Turn(likely_tokens(texts) + teacher.max_tokens)
        await self.ledger.reserve(worst)
        cost = worst  # until something better is known
        try:
            await self._write({"event": "reserved", "key": key, "teacher": teacher.name, "nano": worst})
            try:
                body = await endpoint.ask(call.body(), key, turn)
            except CallError as error:
                endpoint.limits.settle(turn, turn.tokens * turn.doubtful)
                cost = one * turn.doubtful
                await self._write(_failure(key, teacher, error, turn, cost))
                self.events[error.reason] += 1
                raise
            prompt, completion = _used(teacher, texts, body)
            endpoint.limits.settle(turn, prompt + completion + turn.tokens * turn.doubtful)
            cost = price(teacher, prompt, completion) + one * turn.doubtful
            entry = _answer(key, call, body, turn, cost)
            entry |= {"tokens": [prompt, completion], "doubtful_nano": one * turn.doubtful}
            if cost > worst:
                entry["above_reserve"] = cost - worst
                self.events["above_reserve"] += 1
            await self._write(entry)
            self.events["asked"] += 1
        finally:
            await self.ledger.settle(worst, cost)
        return _read(entry)

    async def _write(self, entry: Entry) -> None:
        await self._journal.append(entry)
        self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        """Of an entry that is on the disk, what is needed again: not the prompts, which can be many and long."""
        self._entries.append({name: entry[name] for name in _MONEY if name in entry})
        if entry["event"] == "replied":
            self._replied[entry["key"]] = {name: entry[name] for name in _ANSWER}


@contextlib.asynccontextmanager
async def open_caller(folder: Path, teachers: list[Teacher], budget_usd: float) -> AsyncIterator[Caller]:
    """The caller of the job in a folder, with everything that was ever paid for in it.

    Raises:
        InvalidInputError: the job runs elsewhere, or a teacher's prices are not known.
        CorruptError, StorageError: its journal cannot be read or written.
    """
    journal = Journal(folder / JOURNAL)
    try:
        caller = Caller(journal, teachers, budget_usd)
    except BaseException:
        await journal.close()
        raise
    try:
        yield caller
    finally:
        await caller.aclose()


def stop_for(error: CallError, teacher: Teacher) -> TeacherError:
    """What to tell a user whose teacher refuses everything."""
    name = teacher.name.upper().replace("-", "_").replace(".", "_")
    cures = {
        "http_401": f"check TEACHER_{name}_API_KEY",
        "http_403": f"check TEACHER_{name}_API_KEY and what it may use",
        "http_404": f"check TEACHER_{name}_BASE_URL (up to and with /v1) and TEACHER_{name}_MODEL",
    }
    cure = cures.get(error.reason, f"check TEACHER_{name}_BASE_URL: redirects and metadata addresses are not followed")
    return TeacherError(f"teacher {teacher.name!r} refuses every call ({error})", cure=cure)


def _read(entry: Entry) -> Reply:
    return replace(read_completion(entry["reply"]), at=datetime.fromisoformat(entry["at"]))


def _used(teacher: Teacher, texts: list[str], body: str) -> tuple[int, int]:
    """Tokens of prompt and completion: what the endpoint claims or our own count, whichever is more.

    An answer that cannot be read was made all the same: it counts as the longest that was asked for.
    """
    prompt = likely_tokens(texts)
    try:
        reply = read_completion(body)
    except CallError:
        return prompt, teacher.max_tokens
    return max(reply.prompt_tokens or 0, prompt), max(reply.completion_tokens or 0, likely_tokens([reply.text]))


def _answer(key: str, call: Call, body: str, turn: Turn, cost: int) -> Entry:
    return {
        "event": "replied",
        "key": key,
        "teacher": call.teacher.name,
        "nano": cost,
        "attempts": turn.attempts,
        "sample": call.sample,
        "request": call.body(),
        "reply": body,
        "at": _now(),
    }


def _failure(key: str, teacher: Teacher, error: CallError, turn: Turn, cost: int) -> Entry:
    return {
        "event": "failed",
        "key": key,
        "teacher": teacher.name,
        "nano": cost,
        "doubtful_nano": cost,
        "attempts": turn.attempts,
        "reason": error.reason,
        "detail": error.detail,
        "at": _now(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
