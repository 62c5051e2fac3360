"""Settings of the service beyond the library's, and the rules that refuse an unsafe start."""

import ipaddress
from typing import Annotated, Any, Final

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from rjepa.errors import InvalidInputError
from rjepa.settings import Settings

LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
_MINIMUM_KEY: Final = 16
"""Characters. A shorter key can be guessed over a network."""

_EXAMPLES: Final = ("change", "example", "your", "secret", "password", "api-key", "api_key", "apikey", "xxxx", "1234")
"""Words of keys that people copy from a README and forget."""


class ServiceSettings(Settings):
    """What the service reads from the environment (prefix `RJEPA_`) and `.env`."""

    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="host names to answer to, comma-separated; on loopback its own names always are"
    )
    max_body_bytes: int = Field(256 * 1024, ge=1024, description="largest request body")
    max_waiting: int = Field(16, ge=1, description="requests that may wait for the model before others get a 429")
    max_tokens: int = Field(1024, ge=1, description="most tokens that a request may ask for")
    dagster_url: str | None = Field(
        None, description="Dagster's web server, for the monitor; unset: RJEPA_DAGSTER_PORT of this machine"
    )
    reload_seconds: float = Field(1.0, gt=0, description="how often the release pointer is looked at")

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            tuple(part.strip().lower() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @property
    def key(self) -> str | None:
        """The API key, or None where none is set. Never log it."""
        return (self.api_key.get_secret_value() if self.api_key is not None else "") or None

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


def check_start(settings: ServiceSettings) -> None:
    """Refuse to serve a network without a key of its own.

    Raises:
        InvalidInputError: the address is not loopback and the key is missing, short or an example.
    """
    if is_loopback(settings.host):
        return
    cure = 'export RJEPA_API_KEY="$(openssl rand -hex 24)", or bind to 127.0.0.1'
    if settings.key is None:
        raise InvalidInputError(f"binding to {settings.host} needs an API key, and RJEPA_API_KEY is not set", cure=cure)
    if len(settings.key) < _MINIMUM_KEY or any(word in settings.key.lower() for word in _EXAMPLES):
        raise InvalidInputError(
            f"binding to {settings.host} needs an API key of at least {_MINIMUM_KEY} characters that is no example; "
            "the one in RJEPA_API_KEY is short or looks like one",
            cure=cure,
        )
