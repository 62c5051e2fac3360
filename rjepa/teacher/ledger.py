"""The record of a job: what is asked, answered and spent. A worst case is reserved before a call, its cost kept after.

Every method returns once what it wrote is durable, so that a kill at any time leaves a job that goes on: an answer is
never paid for twice, and a call that was in flight counts at its worst case, since it is unknown whether it was
billed. The budget is checked by the database, in the transaction that reserves. Sums for people are in `spending`.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from rjepa.database import Database
from rjepa.errors import InvalidInputError, RjepaError
from rjepa.teacher.commits import GroupCommit
from rjepa.teacher.pricing import nano_dollars, usd
from rjepa.teacher.runners import LEASE_MS, RENEWAL_SECONDS, is_alive, this_process
from rjepa.teacher.tables import CALLS, JOBS

_LONGEST_DETAIL: Final = 2000
"""Characters of a failure's words that are kept."""


class BudgetError(RjepaError):
    """The next call could cost more than what is left of the budget."""


@dataclass(frozen=True)
class StoredReply:
    """An answer that is on the disk: its body, and when it came."""

    body: str
    at: datetime


@dataclass(frozen=True)
class Reservation:
    """A call that may be made: its row, and its worst case in nano-dollars."""

    call_id: int
    worst: int


@dataclass(frozen=True)
class Cost:
    """What a call took. `doubtful` is the part of `nano` that may not have been billed."""

    nano: int
    doubtful: int
    attempts: int
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True)
class _TooLittleLeft:
    """The answer of the database where a call does not fit: what is spent and reserved of the budget."""

    spent: int
    reserved: int


class Ledger:
    """The record of one job that this process runs. Made by `open_ledger`."""

    def __init__(self, database: Database, job: str, budget_usd: float) -> None:
        self.spent = 0
        """Nano-dollars that the job is known to have spent: for a progress bar, not for decisions."""
        self._database, self._job = database, job
        self._budget_usd, self._budget = budget_usd, nano_dollars(budget_usd)
        self._runner = uuid.uuid4().hex
        self._commits = GroupCommit(database)
        self._settled = 0  # calls of this run that were settled: one that waits for budget looks whether it moved
        self._changed = asyncio.Condition()

    async def find(self, key: str) -> StoredReply | None:
        """The answer to a call, if it was ever given."""
        query = select(CALLS.c.reply, CALLS.c.settled_at_ms).where(
            CALLS.c.job == self._job, CALLS.c.key == key, CALLS.c.state == "replied"
        )
        row = await self._commits.run(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else StoredReply(row.reply, _moment(row.settled_at_ms))

    async def reserve(self, key: str, teacher: str, worst: int) -> Reservation:
        """Set the worst case of a call aside, waiting for calls in flight where their change may suffice.

        Raises:
            BudgetError: it does not fit, and nothing in flight could change that.
            InvalidInputError: another process took the job over.
            StorageError: the database cannot be written.
        """
        while True:
            settled = self._settled
            outcome = await self._commits.run(partial(self._reserve, key=key, teacher=teacher, worst=worst))
            if isinstance(outcome, Reservation):
                return outcome
            if not outcome.reserved:
                raise BudgetError(
                    f"the next call could cost {usd(worst)}, of the budget of {usd(self._budget)}"
                    f" {usd(max(self._budget - outcome.spent, 0))} are left",
                    cure="raise TEACHER_MAX_BUDGET_PER_JOB or --budget and run the same job again:"
                    " what was paid for is kept",
                )
            await self._any_settlement_after(settled)

    async def keep_reply(self, reservation: Reservation, cost: Cost, request: dict[str, Any], body: str) -> StoredReply:
        """Keep an answer and its cost in place of the reservation. More than the worst case counts in full.

        Raises:
            InvalidInputError: another process took the job over.
            StorageError: the database cannot be written.
        """
        values = {
            "state": "replied",
            "above_reserve_nano": max(cost.nano - reservation.worst, 0),
            "prompt_tokens": cost.prompt_tokens,
            "completion_tokens": cost.completion_tokens,
            "request": request,
            "reply": body,
        }
        return StoredReply(body, _moment(await self._settle(reservation, cost, values)))

    async def keep_failure(self, reservation: Reservation, cost: Cost, reason: str, detail: str) -> None:
        """Keep why a call came to nothing, and what it may have cost. It may be made again.

        Raises:
            InvalidInputError: another process took the job over.
            StorageError: the database cannot be written.
        """
        shown = detail.replace("\x00", "\ufffd")[:_LONGEST_DETAIL]
        await self._settle(reservation, cost, {"state": "failed", "reason": reason[:64], "detail": shown})

    async def _any_settlement_after(self, settled: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._settled != settled)

    async def _settle(self, reservation: Reservation, cost: Cost, values: dict[str, Any]) -> int:
        try:
            return await self._commits.run(partial(self._close, reservation=reservation, cost=cost, values=values))
        finally:
            self._settled += 1
            async with self._changed:
                self._changed.notify_all()

    def _reserve(self, connection: Connection, key: str, teacher: str, worst: int) -> Reservation | _TooLittleLeft:
        now = self._database.now_ms(connection)
        spent, reserved = self._hold(connection, now)
        if spent + reserved + worst > self._budget:
            return _TooLittleLeft(spent, reserved)
        connection.execute(update(JOBS).where(JOBS.c.name == self._job).values(reserved_nano=reserved + worst))
        row = {"job": self._job, "key": key, "teacher": teacher, "state": "open"}
        call = insert(CALLS).values(**row, reserved_nano=worst, reserved_at_ms=now).returning(CALLS.c.id)
        return Reservation(connection.execute(call).scalar_one(), worst)

    def _close(self, connection: Connection, reservation: Reservation, cost: Cost, values: dict[str, Any]) -> int:
        now = self._database.now_ms(connection)
        spent, reserved = self._hold(connection, now)
        self.spent = spent + cost.nano
        sums = {"spent_nano": self.spent, "reserved_nano": reserved - reservation.worst}
        connection.execute(update(JOBS).where(JOBS.c.name == self._job).values(**sums))
        costs = {"cost_nano": cost.nano, "doubtful_nano": cost.doubtful, "attempts": cost.attempts}
        connection.execute(
            update(CALLS).where(CALLS.c.id == reservation.call_id).values(**costs, **values, settled_at_ms=now)
        )
        return now

    def _hold(self, connection: Connection, now: int) -> tuple[int, int]:
        """Say that this run is alive, and read the job's sums, its row being ours until the transaction ends.

        Raises:
            InvalidInputError: another process took the job over.
        """
        ours = (JOBS.c.name == self._job) & (JOBS.c.runner == self._runner)
        if not connection.execute(update(JOBS).where(ours).values(runner_until_ms=now + LEASE_MS)).rowcount:
            raise InvalidInputError(
                f"another process took the job {self._job!r} over, as this one seemed to be dead",
                cure="let that one end, then run the job again if anything is missing: what was answered is kept",
            )
        row = connection.execute(select(JOBS.c.spent_nano, JOBS.c.reserved_nano).where(ours)).one()
        return row.spent_nano, row.reserved_nano

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL_SECONDS)
            await self._commits.run(lambda connection: self._hold(connection, self._database.now_ms(connection)))

    def _claim(self, connection: Connection) -> int:
        """Become the job's runner; calls that a dead one left open are lost. Returns what is spent."""
        now = self._database.now_ms(connection)
        job = connection.execute(select(JOBS).where(JOBS.c.name == self._job)).one_or_none()
        if job is None:
            sums = {"spent_nano": 0, "reserved_nano": 0}
            connection.execute(insert(JOBS).values(name=self._job, budget_usd=self._budget_usd, **sums))
        elif job.runner is not None and is_alive(job.runner_process, job.runner_until_ms, now):
            raise InvalidInputError(
                f"the job {self._job!r} is running in another process", cure="wait for it, or stop it first"
            )
        left_open = (CALLS.c.job == self._job) & (CALLS.c.state == "open")
        worst = CALLS.c.reserved_nano
        lost = {"state": "lost", "cost_nano": worst, "doubtful_nano": worst, "settled_at_ms": now}
        connection.execute(update(CALLS).where(left_open).values(**lost))
        spent = 0 if job is None else job.spent_nano + job.reserved_nano
        us = {"runner": self._runner, "runner_process": this_process(), "runner_until_ms": now + LEASE_MS}
        sums = {"spent_nano": spent, "reserved_nano": 0}
        connection.execute(
            update(JOBS).where(JOBS.c.name == self._job).values(**us, **sums, budget_usd=self._budget_usd)
        )
        return spent

    def _release(self, connection: Connection) -> None:
        ours = (JOBS.c.name == self._job) & (JOBS.c.runner == self._runner)
        connection.execute(update(JOBS).where(ours).values(runner=None, runner_process=None, runner_until_ms=None))


@contextlib.asynccontextmanager
async def open_ledger(database: Database, job: str, budget_usd: float) -> AsyncIterator[Ledger]:
    """The record of a job, with everything that was ever paid for in it, ours alone to write until the end.

    Raises:
        InvalidInputError: another process runs the job.
        StorageError: the database cannot be written.
    """
    ledger = Ledger(database, job, budget_usd)
    ledger.spent = await asyncio.to_thread(database.transact, ledger._claim)
    renewal = asyncio.create_task(ledger._renew())
    try:
        yield ledger
    finally:
        renewal.cancel()
        with contextlib.suppress(asyncio.CancelledError, RjepaError):
            await renewal
        await ledger._commits.finish()
        await asyncio.to_thread(database.transact, ledger._release)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC)
