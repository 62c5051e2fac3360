"""What a call may cost and what it did cost, in whole nano-dollars. Budgets and records of calls are in `ledger`."""

import ipaddress
from decimal import ROUND_CEILING, Decimal
from typing import Final
from urllib.parse import urlsplit

from rjepa.addresses import Address
from rjepa.errors import InvalidInputError
from rjepa.teacher.settings import Teacher, variable_part

NANO: Final = 1_000_000_000
"""Nano-dollars in a dollar."""
_NANO_PER_TOKEN: Final = 1000
"""A dollar for a million tokens is a thousand nano-dollars for a token."""
_BYTES_PER_TOKEN: Final = 4
"""English text in the usual tokenizers; a count of our own only has to catch lies, not to be exact."""
_MESSAGE_OVERHEAD: Final = 8
"""Tokens that a chat template spends on a message beyond its text."""


def nano_dollars(dollars: float) -> int:
    """Dollars in whole nano-dollars."""
    return int(Decimal(str(dollars)) * NANO)


def price(teacher: Teacher, prompt_tokens: int, completion_tokens: int) -> int:
    """Nano-dollars of one call, rounded up."""
    exact = Decimal(str(teacher.usd_per_mtok_in or 0)) * prompt_tokens
    exact += Decimal(str(teacher.usd_per_mtok_out or 0)) * completion_tokens
    return int((exact * _NANO_PER_TOKEN).to_integral_value(ROUND_CEILING))


def check_priced(teacher: Teacher) -> None:
    """Refuse an endpoint without prices: no budget could be held.

    Raises:
        InvalidInputError: a teacher that is not on this machine or network has no prices.
    """
    if (teacher.usd_per_mtok_in is None or teacher.usd_per_mtok_out is None) and not is_local(teacher.base_url):
        name = variable_part(teacher.name)
        raise InvalidInputError(
            f"teacher {teacher.name!r} has no prices, so no budget can be held",
            cure=f"set TEACHER_{name}_USD_PER_MTOK_IN and TEACHER_{name}_USD_PER_MTOK_OUT (0 where it is free)",
        )


def largest_token_count(texts: list[str]) -> int:
    """Tokens that a prompt can have at most: a byte-level tokenizer makes at least one byte a token."""
    return sum(len(text.encode("utf-8", "replace")) + _MESSAGE_OVERHEAD for text in texts)


def estimated_token_count(texts: list[str]) -> int:
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
