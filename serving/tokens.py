"""JSON web tokens: read one, and say who it is. Making them is the business of whoever signs them.

The algorithm is the operator's, never the token's; `exp`, `sub` and `role` have to be there.
"""

from dataclasses import dataclass
from typing import Any, Final

import jwt

from rjepa.errors import InvalidInputError
from rjepa.keys import ROLES, Role
from serving.settings import ServiceSettings

_SHORTEST_SECRET: Final = 32
"""Bytes: as long as the hash of HS256, as RFC 7518 asks for."""
_LEEWAY_SECONDS: Final = 10
"""By how much two machines' clocks may differ."""
_LONGEST_SUBJECT: Final = 200


@dataclass(frozen=True)
class TokenReader:
    """Reads tokens with one key and one algorithm."""

    key: bytes
    algorithm: str
    audience: str | None
    issuer: str | None

    def read(self, token: str) -> tuple[str, Role] | None:
        """Subject and role of a token that holds; None for any other text."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self.key,
                algorithms=[self.algorithm],
                audience=self.audience,
                issuer=self.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "sub", "role"], "verify_aud": self.audience is not None},
            )
        except (jwt.PyJWTError, ValueError, TypeError, UnicodeError):
            return None
        subject, role = claims["sub"], next((role for role in ROLES if role == claims["role"]), None)
        fits = isinstance(subject, str) and 0 < len(subject) <= _LONGEST_SUBJECT and subject.isprintable()
        return (subject, role) if fits and role is not None else None


def open_token_reader(settings: ServiceSettings) -> TokenReader | None:
    """The reader that the settings describe; None where they name no key file.

    Raises:
        InvalidInputError: the file cannot be read, or holds no key for the algorithm.
    """
    path = settings.jwt_key_file
    if path is None:
        return None
    cure = "RJEPA_JWT_KEY_FILE names a file with the secret (HS256: openssl rand -hex 32) or the public key (PEM)"
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read ({error.strerror})", cure=cure) from error
    if settings.jwt_algorithm == "HS256" and len(key) < _SHORTEST_SECRET:
        raise InvalidInputError(f"{path} holds fewer than {_SHORTEST_SECRET} bytes", cure=cure)
    try:
        jwt.get_algorithm_by_name(settings.jwt_algorithm).prepare_key(key)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise InvalidInputError(f"{path} holds no key for {settings.jwt_algorithm}", cure=cure) from error
    if b"PRIVATE KEY" in key:
        raise InvalidInputError(f"{path} holds a private key", cure="the service needs the public key alone")
    return TokenReader(key, settings.jwt_algorithm, settings.jwt_audience, settings.jwt_issuer)
