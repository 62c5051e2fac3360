"""API keys: who may ask the service, as what, and until when. Their records live in the database.

A key is shown once, when it is made; what is kept is its SHA-256. A key holds 256 random bits, so a fast hash is right:
there is nothing to guess. What a role may do is the service's matter (`serving.access`).
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, insert, select, update

from rjepa.database import METADATA, Database
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.moments import DAY_MS

Role = Literal["viewer", "user", "operator"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""Each may do what those before it may: look, ask, change what is served."""

PREFIX: Final = "rjepa"
"""Every key begins with it, so that scanners for leaked secrets can find keys of ours."""

_KEY: Final = re.compile(rf"{PREFIX}_(?P<key_id>[0-9a-f]{{12}})_(?P<secret>[A-Za-z0-9_-]{{43}})")
_SECRET_BYTES: Final = 32
_ID_BYTES: Final = 6
"""Told apart in lists and logs; the secret alone is what protects."""
_LONGEST_NAME: Final = 64

API_KEYS: Final = Table(
    "api_keys",
    METADATA,
    Column("key_id", String(12), primary_key=True, comment="the part of the key that is shown in lists"),
    Column("name", String(_LONGEST_NAME), nullable=False),
    Column("role", String(16), nullable=False),
    Column("digest", String(64), nullable=False, comment="SHA-256 of the whole key, in hex"),
    Column("requests_per_minute", Integer, comment="none: the service's own limit"),
    Column("tokens_per_minute", Integer, comment="none: the service's own limit"),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, comment="none: never"),
    Column("revoked_at_ms", BigInteger),
)


@dataclass(frozen=True)
class KeyRecord:
    """What is kept of a key. Moments are milliseconds since 1970."""

    key_id: str
    name: str
    role: Role
    digest: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None

    def is_live(self, now_ms: int) -> bool:
        """Whether the key opens anything now."""
        return self.revoked_at_ms is None and (self.expires_at_ms is None or now_ms < self.expires_at_ms)


def create_key(
    database: Database,
    name: str,
    role: Role,
    *,
    days: float | None = None,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
) -> tuple[str, KeyRecord]:
    """Make a key. It is returned here and never again.

    Args:
        days: until it expires; None for never.

    Raises:
        InvalidInputError: the name is empty, too long, or no single line of printable characters.
    """
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise InvalidInputError(
            f"the name {name[:_LONGEST_NAME]!r} does not fit",
            cure=f"choose 1 to {_LONGEST_NAME} printable characters that say whose key it is",
        )
    key_id = secrets.token_hex(_ID_BYTES)
    key = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"

    def write(connection: Connection) -> KeyRecord:
        now_ms = database.now_ms(connection)
        record = KeyRecord(
            key_id=key_id,
            name=name,
            role=role,
            digest=_digest(key),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            created_at_ms=now_ms,
            expires_at_ms=None if days is None else now_ms + round(days * DAY_MS),
            revoked_at_ms=None,
        )
        connection.execute(insert(API_KEYS).values(**vars(record)))
        return record

    return key, database.transact(write)


def list_keys(database: Database) -> list[KeyRecord]:
    """Every key that was ever made, oldest first."""
    with database.reading() as connection:
        rows = connection.execute(select(API_KEYS).order_by(API_KEYS.c.created_at_ms, API_KEYS.c.key_id)).mappings()
        return [_record(row) for row in rows]


def revoke_key(database: Database, wanted: str) -> KeyRecord:
    """End a key, named by its id, by what `rjepa keys list` shows, or by its name where one live key has it.

    Revoking a revoked key changes nothing.

    Raises:
        NotFoundError: there is no such key.
        InvalidInputError: several live keys have that name.
    """
    key_id = wanted.removeprefix(f"{PREFIX}_")[: 2 * _ID_BYTES]

    def write(connection: Connection) -> KeyRecord:
        rows = [_record(row) for row in connection.execute(select(API_KEYS)).mappings()]
        found = [record for record in rows if record.key_id == key_id]
        found = found or [record for record in rows if record.name == wanted and record.revoked_at_ms is None]
        if not found:
            raise NotFoundError("there is no such key", cure="take the id that `rjepa keys list` shows")
        if len(found) > 1:
            ids = ", ".join(record.key_id for record in found)
            raise InvalidInputError(f"{len(found)} keys have that name: {ids}", cure="name one by its id")
        if found[0].revoked_at_ms is None:
            now_ms = database.now_ms(connection)
            changed = update(API_KEYS).where(API_KEYS.c.key_id == found[0].key_id)
            connection.execute(changed.values(revoked_at_ms=now_ms))
            return KeyRecord(**{**vars(found[0]), "revoked_at_ms": now_ms})
        return found[0]

    return database.transact(write)


def looks_like_key(text: str) -> bool:
    """Whether a text has the form of a key of ours."""
    return _KEY.fullmatch(text) is not None


def find_live_key(key: str, records: Mapping[str, KeyRecord], now_ms: int) -> KeyRecord | None:
    """The record of a key that is right and live; None for any other text.

    Args:
        records: by key id.
    """
    match = _KEY.fullmatch(key)
    record = records.get(match["key_id"]) if match else None
    # Hashed and compared in any case, in constant time: how long a refusal takes says nothing.
    right = hmac.compare_digest(_digest(key), record.digest if record is not None else _digest(""))
    return record if record is not None and right and record.is_live(now_ms) else None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _record(row: Mapping[Any, Any]) -> KeyRecord:
    return KeyRecord(**{str(name): value for name, value in row.items()})
