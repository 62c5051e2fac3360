"""Who asks: keys of the database, the one key of the environment, and tokens. What a role may do: `serving.access`."""

import asyncio
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rjepa.database import Database, open_database
from rjepa.errors import RjepaError
from rjepa.home import Home
from rjepa.keys import KeyRecord, find_live_key, list_keys, looks_like_key
from serving.access import Principal, may, rule_of
from serving.context import current_request, set_current_request
from serving.errors import NotReadyError
from serving.metrics import Metrics
from serving.refusals import refuse, refuse_error
from serving.settings import ServiceSettings
from serving.tokens import TokenReader

_LOG = structlog.get_logger("serving")
_FRESH_SECONDS: Final = 1.0
"""How old may be what is known of the keys: a revoked one is refused that soon."""
_STALE_SECONDS: Final = 60.0
"""How long the keys last read go on being believed while the database cannot be reached."""


class DatabaseKeys:
    """The keys of the database as they were at most a second ago. Read only when somebody shows one."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._records: Mapping[str, KeyRecord] = {}
        self._tried_at = self._read_at = -_STALE_SECONDS
        self._reading = asyncio.Lock()
        self._database: Database | None = None

    async def find(self, key: str) -> KeyRecord | None:
        """The record of a live key.

        Raises:
            NotReadyError: the database cannot be reached, and what is known of the keys is too old.
        """
        async with self._reading:
            if time.monotonic() - self._tried_at >= _FRESH_SECONDS:
                await self._refresh()
        if time.monotonic() - self._read_at > _STALE_SECONDS:
            raise NotReadyError("the keys cannot be looked up", cure="try again in a minute; see the service's log")
        return find_live_key(key, self._records, time.time_ns() // 1_000_000)

    async def _refresh(self) -> None:
        self._tried_at = time.monotonic()
        try:
            self._records = await asyncio.to_thread(self._read)
        except RjepaError as error:
            _LOG.error("keys_not_read", problem=error.problem, cure=error.cure)
        else:
            self._read_at = self._tried_at

    def close(self) -> None:
        """Give back the database's connections."""
        if self._database is not None:
            self._database.close()

    def _read(self) -> Mapping[str, KeyRecord]:
        if self._database is None:
            self._database = open_database(Home(self._settings.home), self._settings.database_url)
        try:
            return {record.key_id: record for record in list_keys(self._database)}
        except RjepaError:
            self._database.close()
            self._database = None
            raise


class Authenticator:
    """Says who shows a credential."""

    def __init__(self, settings: ServiceSettings, tokens: TokenReader | None) -> None:
        self._digest = None if settings.key is None else hashlib.sha256(settings.key.encode()).digest()
        self._needs_key = settings.needs_key
        self._keys = DatabaseKeys(settings)
        self._tokens = tokens

    def close(self) -> None:
        """Give back what looking keys up holds."""
        self._keys.close()

    async def identify(self, authorization: str, address: str) -> Principal | None:
        """Who sends this `Authorization` header from this address; None for nobody we know.

        Where no key is needed, whoever shows none of ours is this machine's user, who may do anything.

        Raises:
            NotReadyError: keys cannot be looked up.
        """
        scheme, _, credential = authorization.partition(" ")
        credential = credential.strip()
        if scheme.lower() == "bearer" and credential:
            found = await self._known(credential)
            if found is not None:
                return found
        return None if self._needs_key else Principal(f"address:{_network(address)}", "operator")

    async def _known(self, credential: str) -> Principal | None:
        given = hashlib.sha256(credential.encode("utf-8", "surrogatepass")).digest()
        # Digests have one length, so the comparison tells nothing of the key, its length included.
        if self._digest is not None and hmac.compare_digest(given, self._digest):
            return Principal("RJEPA_API_KEY", "operator")
        if looks_like_key(credential):
            record = await self._keys.find(credential)
            if record is not None:
                return Principal(
                    f"key:{record.key_id}", record.role, record.requests_per_minute, record.tokens_per_minute
                )
        elif self._tokens is not None:
            claims = self._tokens.read(credential)
            if claims is not None:
                return Principal(f"token:{claims[0]}", claims[1])
        return None


class Auth:
    """The guard: open routes pass, others need a principal whose role suffices. It goes into `scope["state"]`."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, metrics: Metrics) -> None:
        self._app = app
        self._authenticator = authenticator
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # The path that routing uses, never a URL put together from headers.
        needed = rule_of(scope["method"], scope["path"]).role
        if needed is None:
            await self._app(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else "-"
        try:
            principal = await self._authenticator.identify(Headers(scope=scope).get("authorization", ""), address)
        except NotReadyError as error:
            await refuse_error(error, scope, receive, send)
            return
        if principal is None:
            self._metrics.rejected("no_key")
            await refuse(
                "the API key is missing or wrong",
                "send the key as Authorization: Bearer KEY",
                status=401,
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )(scope, receive, send)
            return
        if not may(principal.role, needed):
            self._metrics.rejected("role")
            await refuse(
                f"this needs the role {needed}, the key has the role {principal.role}",
                "use a key with that role: rjepa keys create NAME --role ROLE",
                status=403,
                code="insufficient_role",
            )(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        set_current_request(replace(current_request(), client=principal.client))
        await self._app(scope, receive, send)


def _network(address: str) -> str:
    """The address, or for IPv6 its network of 64 bits: one client has all of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((parsed, 64), strict=False))
