"""What calls cost, and the budget they must stay inside: the worst case is reserved before a call, the cost kept after.

Money is whole nano-dollars, so that a million small calls add up exactly. What lasts is the journal; this is its sum.
"""

import asyncio
import ipaddress
from collections import Counter
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Final
from urllib.parse import urlsplit

from rjepa.addresses import Address
from rjepa.errors import InvalidInputError, RjepaError
from rjepa.teacher.journal import Entry
from rjepa.teacher.settings import Teacher

NANO: Final = 1_000_000_000
"""Nano-dollars in a dollar."""
_BYTES_PER_TOKEN: Final = 4
"""English text in the usual tokenizers; a count of our own only has to catch lies, not to be exact."""
_MESSAGE_OVERHEAD: Final = 8
"""Tokens that a chat template spends on a message beyond its text."""


class BudgetError(RjepaError):
    """The next call could cost more than what is left of the budget."""


class Ledger:
    """The running sum of one job."""

    def __init__(self, budget_usd: float, spent: int) -> None:
        self.budget = int(Decimal(str(budget_usd)) * NANO)
        self.spent = spent
        self.reserved = 0
        self._changed = asyncio.Condition()

    async def reserve(self, worst: int) -> None:
        """Set the worst case of a call aside, waiting for calls in flight where their change may suffice.

        Raises:
            BudgetError: it does not fit, and nothing in flight could change that.
        """
        async with self._changed:
            while self.spent + self.reserved + worst > self.budget:
                if self.reserved == 0:
                    raise BudgetError(
                        f"the next call could cost {usd(worst)}, of the budget of {usd(self.budget)}"
                        f" {usd(max(self.budget - self.spent, 0))} are left",
                        cure="raise TEACHER_MAX_BUDGET_PER_JOB or --budget and run the same job again:"
                        " what was paid for is kept",
                    )
                await self._changed.wait()
            self.reserved += worst

    async def settle(self, worst: int, cost: int) -> None:
        """Replace a reservation by what the call cost. More than the reservation counts in full."""
        async with self._changed:
            self.reserved -= worst
            self.spent += max(cost, 0)
            self._changed.notify_all()


@dataclass(frozen=True)
class Spending:
    """What a journal says was spent, in nano-dollars. `doubtful` is the part that nobody can be sure was billed."""

    spent: int = 0
    doubtful: int = 0
    replies: int = 0
    failed: int = 0
    in_flight: int = 0
    above_reserve: int = 0
    by_teacher: dict[str, int] = field(default_factory=dict)


def spending(entries: list[Entry]) -> Spending:
    """Add up a journal. A reservation that nothing followed was in flight at a kill: it counts in full."""
    open_reservations: dict[str, Entry] = {}
    by_teacher: Counter[str] = Counter()
    spent = doubtful = above = 0
    events: Counter[str] = Counter()
    for entry in entries:
        key, event = entry["key"], entry["event"]
        events[event] += 1
        if event == "reserved":
            lost = open_reservations.get(key)
            if lost is not None:
                spent, doubtful = spent + lost["nano"], doubtful + lost["nano"]
                by_teacher[lost["teacher"]] += lost["nano"]
            open_reservations[key] = entry
            continue
        open_reservations.pop(key, None)
        spent += entry["nano"]
        by_teacher[entry["teacher"]] += entry["nano"]
        doubtful += entry.get("doubtful_nano", 0)
        above += "above_reserve" in entry
    for lost in open_reservations.values():
        spent, doubtful = spent + lost["nano"], doubtful + lost["nano"]
        by_teacher[lost["teacher"]] += lost["nano"]
    return Spending(
        spent, doubtful, events["replied"], events["failed"], len(open_reservations), above, dict(by_teacher)
    )


def price(teacher: Teacher, prompt_tokens: int, completion_tokens: int) -> int:
    """Nano-dollars of one call, rounded up."""
    per_token = 1000  # a dollar per million tokens is a thousand nano-dollars a token
    exact = Decimal(str(teacher.usd_per_mtok_in or 0)) * prompt_tokens
    exact += Decimal(str(teacher.usd_per_mtok_out or 0)) * completion_tokens
    return int((exact * per_token).to_integral_value(ROUND_CEILING))


def check_priced(teacher: Teacher) -> None:
    """A budget means nothing for an endpoint without prices.

    Raises:
        InvalidInputError: a teacher that is not on this machine or network has no prices.
    """
    if (teacher.usd_per_mtok_in is None or teacher.usd_per_mtok_out is None) and not is_local(teacher.base_url):
        name = teacher.name.upper().replace("-", "_").replace(".", "_")
        raise InvalidInputError(
            f"teacher {teacher.name!r} has no prices, so no budget can be held",
            cure=f"set TEACHER_{name}_USD_PER_MTOK_IN and TEACHER_{name}_USD_PER_MTOK_OUT (0 where it is free)",
        )


def most_tokens(texts: list[str]) -> int:
    """Tokens that a prompt can have at most: a byte-level tokenizer makes at least one byte a token."""
    return sum(len(text.encode("utf-8", "replace")) + _MESSAGE_OVERHEAD for text in texts)


def likely_tokens(texts: list[str]) -> int:
    """Our own count of a text's tokens: rough, and never zero for a text."""
    return sum(-(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN) for text in texts)


def usd(nano: int) -> str:
    """Nano-dollars for people."""
    return f"${nano / NANO:.4f}" if nano >= NANO // 1000 or nano == 0 else f"${nano / NANO:.7f}"


def is_local(base_url: str) -> bool:
    """Whether an address is on this machine or in a private network, as its literal host says."""
    host = urlsplit(base_url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address: Address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_private or address.is_loopback
