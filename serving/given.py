"""The last answers of this process, and what makes feedback on them possible: their tickets, and the home's database.

Answers are held in bounded memory, in words, until somebody consents to keep one: nothing of them is written before.
`rjepa.feedback` decides what may be kept, voted on and deleted; the routes are in `serving.feedback`.
"""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog
from fastapi import Request

from rjepa.database import Database, open_database
from rjepa.errors import RjepaError
from rjepa.feedback.interactions import keep
from rjepa.feedback.records import Content, Given, Owner
from rjepa.feedback.tickets import hash_user, home_secret, sign
from rjepa.home import Home
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.question import Question
from serving.context import current_request
from serving.settings import ServiceSettings

MAX_BYTES: Final = 32 * 2**20
"""Memory for all answers that are held: ten thousand of four candidates. Older ones are found by their ticket."""

_LOG = structlog.get_logger("serving")
_AGAIN_SECONDS: Final = 30.0
"""How long a database that could not be opened is left alone."""
_START_SECONDS: Final = 3.0
"""How long a start waits for the database: one that is there opens in milliseconds."""
_OVERHEAD: Final = 2048
"""Bytes of an answer beside its words."""

Result = TypeVar("Result")


class GivenAnswers:
    """The newest answers of this process; the oldest goes where there is no more room. Safe between threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, tuple[Given, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, given: Given) -> None:
        """Hold an answer."""
        size = _size(given)
        with self._lock:
            self._held[given.interaction_id] = given, size
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, (_, oldest) = self._held.popitem(last=False)
                self._bytes -= oldest

    def get(self, interaction_id: str) -> Given | None:
        """An answer, while it is held."""
        with self._lock:
            found = self._held.get(interaction_id)
        return None if found is None else found[0]

    def forget(self, interaction_id: str) -> None:
        """Hold an answer no longer."""
        with self._lock:
            _, size = self._held.pop(interaction_id, (None, 0))
            self._bytes -= size


class FeedbackDesk:
    """Where answers are registered and feedback is taken in. Answers go out whether or not the database is there."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.given = GivenAnswers()
        self._settings = settings
        self._database: Database | None = None
        self._secret: bytes | None = None
        self._tried_at = -_AGAIN_SECONDS
        self._opening = threading.Lock()

    async def start(self) -> None:
        """Open the database and read the home's secret. A slow one is not waited for: until then, or where it cannot be
        reached, answers have no tickets.
        """
        opening = threading.Thread(target=self._try, daemon=True)
        opening.start()
        await asyncio.to_thread(opening.join, _START_SECONDS)

    def close(self) -> None:
        """Give back the database's connections."""
        if self._database is not None:
            self._database.close()

    async def run(self, work: Callable[[Database], Result]) -> Result:
        """Do something with the database, in a thread.

        Raises:
            StorageError: the database cannot be reached.
        """
        return await asyncio.to_thread(lambda: work(self._open()[0]))

    async def owner(self, user: str | None = None) -> Owner:
        """Who asks this request, and for which of its users.

        Raises:
            StorageError: the database cannot be reached.
        """
        client = current_request().client
        if not user:
            return Owner(client)
        return Owner(client, hash_user(await asyncio.to_thread(self.secret), user))

    def secret(self) -> bytes:
        """The home's secret. To be called in a thread: it may have to be read first.

        Raises:
            StorageError: the database cannot be reached.
        """
        return self._open()[1]

    def register(self, exchange: "Exchange", question: Question, answer: Answer) -> tuple[Given, str] | None:
        """Hold an answer and make its ticket; None while the secret is not known."""
        if self._secret is None:
            self._retry()
            return None
        given = Given(
            interaction_id=exchange.id,
            owner=Owner(exchange.client, hash_user(self._secret, exchange.user) if exchange.user else ""),
            llm_tag=answer.llm_tag,
            release_id=answer.release_id,
            mode=answer.mode,
            seed=answer.seed,
            p_correct=answer.p_correct,
            answered_at_ms=time.time_ns() // 1_000_000,
            content=Content.of(question.messages, answer),
        )
        self.given.add(given)
        return given, sign(self._secret, given)

    def _retry(self) -> None:
        if time.monotonic() - self._tried_at > _AGAIN_SECONDS:
            self._tried_at = time.monotonic()
            threading.Thread(target=self._try, daemon=True).start()

    def _try(self) -> None:
        try:
            self._open()
        except RjepaError as error:
            _LOG.error("feedback_database_not_opened", problem=error.problem, cure=error.cure)

    def _open(self) -> tuple[Database, bytes]:
        with self._opening:
            self._tried_at = time.monotonic()
            if self._database is None:
                self._database = open_database(Home(self._settings.home), self._settings.database_url)
            if self._secret is None:
                self._secret = home_secret(self._database)
            return self._database, self._secret


@dataclass(frozen=True)
class Exchange:
    """One request whose answer can be given feedback on: the id of its reply, whose it is, whether to keep it."""

    desk: FeedbackDesk
    id: str
    client: str
    user: str | None = None
    consent: bool = False

    async def settle(self, question: Question, answer: Answer, reply: dict[str, Any]) -> None:
        """Register the answer, and keep it where that was consented to. `reply` is the `rjepa` field of what goes out:
        `ticket`, and with consent `kept`, are added to it.
        """
        registered = self.desk.register(self, question, answer)
        reply["ticket"] = None if registered is None else registered[1]
        if not self.consent:
            return
        reply["kept"] = False
        if registered is None:
            return
        given = registered[0]
        try:
            await self.desk.run(lambda database: keep(database, given))
        except RjepaError as error:  # the answer itself goes out all the same
            _LOG.warning("not_kept", problem=error.problem)
            reply["not_kept"] = f"{error.problem} -> {error.cure}"
        else:
            reply["kept"] = True


def desk_of(request: Request) -> FeedbackDesk:
    """The service's desk."""
    desk: FeedbackDesk = request.app.state.feedback
    return desk


def exchange_of(desk: FeedbackDesk, answer_id: str, *, user: str | None, consent: bool) -> Exchange:
    """The exchange of the request that is being answered."""
    return Exchange(desk, answer_id, current_request().client, user, consent)


def _size(given: Given) -> int:
    content = given.content
    if content is None:
        return _OVERHEAD
    words = sum(len(message.content) for message in content.messages)
    return _OVERHEAD + words + 2 * len(content.text) + sum(512 + 2 * len(one.text) for one in content.candidates)
