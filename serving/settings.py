"""Settings of the service beyond the library's, and the rules that refuse an unsafe start."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.settings import Settings

LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
_MINIMUM_KEY: Final = 16
"""Characters. A shorter key can be guessed over a network."""

_EXAMPLES: Final = ("change", "example", "your", "secret", "password", "api-key", "api_key", "apikey", "xxxx", "1234")
"""Words of keys that people copy from a README and forget."""

_CURE: Final = (
    'make a key (rjepa keys create NAME), or export RJEPA_API_KEY="$(openssl rand -hex 24)", or bind to 127.0.0.1'
)

Names = Annotated[tuple[str, ...], NoDecode]


class ServiceSettings(Settings):
    """What the service reads from the environment (prefix `RJEPA_`) and `.env`."""

    # Who may ask, and from where.
    require_key: bool = Field(False, description="ask for a key on loopback too, where none is needed otherwise")
    allowed_hosts: Names = Field(
        (), description="host names to answer to, comma-separated; on loopback its own names always are"
    )
    cors_origins: Names = Field(
        (), description="origins of other sites whose pages may ask, comma-separated, as https://name[:port]"
    )
    trusted_proxies: Names = Field(
        (), description="addresses of proxies whose X-Forwarded-For and -Proto are believed, comma-separated"
    )
    jwt_algorithm: Literal["HS256", "RS256", "ES256"] = Field("HS256", description="the one algorithm of tokens")
    jwt_key_file: Path | None = Field(
        None, description="file with the secret (HS256, 32 bytes or more) or the public key (RS256, ES256; PEM)"
    )
    jwt_audience: str | None = Field(None, description="what a token's aud has to hold")
    jwt_issuer: str | None = Field(None, description="what a token's iss has to be")

    # How much.
    requests_per_minute: int = Field(0, ge=0, description="questions a client may ask a minute; 0 for any number")
    tokens_per_minute: int = Field(0, ge=0, description="tokens, read and written, a client may use a minute; 0: any")
    max_in_flight: int = Field(32, ge=1, description="questions of one client that are answered or wait at a time")
    max_waiting: int = Field(128, ge=1, description="questions of all clients that are answered or wait at a time")
    max_loras: int = Field(8, ge=0, le=64, description="LoRAs of the student that are loaded at a time")
    max_tokens: int = Field(1024, ge=1, description="most tokens that a request may ask for")
    max_body_bytes: int = Field(1024 * 1024, ge=1024, description="largest request body")
    max_connections: int = Field(1000, ge=8, description="open connections; past it, the longest idle one is closed")

    # How long, in seconds.
    header_seconds: float = Field(10.0, gt=0, description="for the head of a request to arrive")
    body_seconds: float = Field(30.0, gt=0, description="for the body of a request to arrive")
    request_seconds: float = Field(600.0, gt=0, description="for an answer, waiting included")
    grace_seconds: float = Field(15.0, ge=0, description="for running answers to end once the service is told to stop")
    reload_seconds: float = Field(1.0, gt=0, description="how often the release pointer is looked at")

    endpoint_loras: str | None = Field(
        None,
        description="where the server behind the student's endpoint finds the home's loras/; none: as here",
    )

    log_details: bool = Field(False, description="log the words of errors, which may hold what was asked")

    @field_validator("allowed_hosts", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            tuple(part.strip().lower() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[a-z0-9._-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?", origin):
                raise ValueError(f"{origin!r} is no origin: write https://name or https://name:port, and never *")
        return value

    @property
    def key(self) -> str | None:
        """The API key, or None where none is set. Never log it."""
        return (self.api_key.get_secret_value() if self.api_key is not None else "") or None

    @property
    def needs_key(self) -> bool:
        """Whether a request without a key is refused."""
        return self.require_key or self.key is not None or not is_loopback(self.host)

    @property
    def hosts(self) -> frozenset[str] | None:
        """Host names to answer to; None for any: off loopback, where the key guards every route that says anything."""
        if is_loopback(self.host):
            return frozenset((*LOOPBACK_HOSTS, self.host.lower(), *self.allowed_hosts))
        return frozenset(self.allowed_hosts) or None


def is_loopback(host: str) -> bool:
    """Whether an address to bind to can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_same_origin(origin: str, host: str) -> bool:
    """Whether an `Origin` header names the host that a request is for. The scheme is the proxy's matter."""
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and parts.netloc == host.lower()


def check_start(settings: ServiceSettings) -> None:
    """Refuse to serve where a key is needed and there is none that opens it.

    Raises:
        InvalidInputError: RJEPA_API_KEY is short or an example, or there is no key at all.
    """
    if is_loopback(settings.host) and not settings.require_key:
        return
    where = f"binding to {settings.host}" if not is_loopback(settings.host) else "RJEPA_REQUIRE_KEY"
    if settings.key is not None:
        if len(settings.key) < _MINIMUM_KEY or any(word in settings.key.lower() for word in _EXAMPLES):
            raise InvalidInputError(
                f"{where} needs an API key of at least {_MINIMUM_KEY} characters that is no example; "
                "the one in RJEPA_API_KEY is short or looks like one",
                cure=_CURE,
            )
    elif settings.jwt_key_file is None and not _has_live_key(settings):
        raise InvalidInputError(
            f"{where} needs an API key: RJEPA_API_KEY is not set, and `rjepa keys list` shows no live key", cure=_CURE
        )


def _has_live_key(settings: ServiceSettings) -> bool:
    from rjepa.database import open_database
    from rjepa.keys import list_keys

    with open_database(Home(settings.home), settings.database_url) as database, database.reading() as connection:
        now_ms = database.now_ms(connection)
        return any(record.is_live(now_ms) for record in list_keys(database))
