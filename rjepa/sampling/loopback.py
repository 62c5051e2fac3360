"""How a student's process is found and asked: its module, its token, and the one address that it may have.

Light on purpose: the process itself imports this before it knows that there is such a student.
"""

from typing import Final
from urllib.parse import urlsplit

from rjepa.errors import InvalidInputError

SERVER: Final = "rjepa.sampling.server"
"""The module that serves a student in another process."""
TOKEN: Final = "RJEPA_STUDENT_TOKEN"
"""The environment variable of the bearer token that it wants."""
LOOPBACK: Final = "127.0.0.1"
"""The only address that it is served at: latents and the token go there unencrypted."""


def host_at(address: str) -> str:
    """Host and port of an address on this machine.

    Raises:
        InvalidInputError: it is anything else.
    """
    parts = urlsplit(address)
    if parts.scheme != "http" or parts.hostname not in (LOOPBACK, "localhost") or parts.path not in ("", "/"):
        raise InvalidInputError(
            f"{address} is no address of a student's process", cure="give http://127.0.0.1:PORT, on this machine"
        )
    return parts.netloc


READ_METHODS: Final = ("tokenize", "names", "text", "score", "embed", "encode", "chains")
"""What a student's process reads for others: `rjepa.sampling.read_wire`."""
