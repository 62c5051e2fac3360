"""Keys of the database and tokens, at a running service."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi.testclient import TestClient

from rjepa.database import open_database
from rjepa.errors import InvalidInputError, StorageError
from rjepa.home import Home
from rjepa.keys import Role, create_key, revoke_key
from serving.app import create_app
from serving.auth import _FRESH_SECONDS
from serving.settings import ServiceSettings, check_start
from tests.patience import wait_until

from .fakes import fake_loader, ready

BODY = {"model": "tiny-a", "messages": [{"role": "user", "content": "x"}]}
SECRET = "0f" * 32


def make_key(home: Home, role: Role = "user", **more: Any) -> str:
    with open_database(home) as database:
        return create_key(database, f"a {role}", role, **more)[0]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def guarded(home: Home, each_database: str) -> Iterator[TestClient]:
    """A service that asks for keys, and has no other key than those of the database."""
    make_key(home)
    settings = ServiceSettings(home=home.root, require_key=True, reload_seconds=0.05)
    with ready(create_app(settings, fake_loader(home))) as client:
        yield client


def test_a_key_may_what_its_role_may(guarded: TestClient, home: Home) -> None:
    roles: tuple[Role, ...] = ("viewer", "user", "operator")
    keys = {role: bearer(make_key(home, role)) for role in roles}
    wait_until(lambda: guarded.get("/v1/info", headers=keys["operator"]).status_code == 200)
    asked = {role: guarded.post("/v1/chat/completions", json=BODY, headers=keys[role]).status_code for role in roles}
    changed = {role: guarded.post("/v1/monitor/rollback", json={}, headers=keys[role]).status_code for role in roles}
    assert asked == {"viewer": 403, "user": 200, "operator": 200}
    assert changed["viewer"] == changed["user"] == 403 and changed["operator"] not in (401, 403)
    for role in roles:
        for path in ("/metrics", "/v1/models", "/v1/info"):
            assert guarded.get(path, headers=keys[role]).status_code == 200
    refused = guarded.post("/v1/chat/completions", json=BODY, headers=keys["viewer"]).json()["error"]
    assert refused["code"] == "insufficient_role" and "viewer" in refused["message"] and refused["cure"]


def test_a_revoked_key_is_refused_within_seconds(guarded: TestClient, home: Home) -> None:
    key = make_key(home)
    wait_until(lambda: guarded.get("/v1/info", headers=bearer(key)).status_code == 200)
    with open_database(home) as database:
        revoke_key(database, key[:18])
    time.sleep(_FRESH_SECONDS)
    assert guarded.get("/v1/info", headers=bearer(key)).status_code == 401


def test_an_expired_key_and_a_changed_one_are_refused(guarded: TestClient, home: Home) -> None:
    key = make_key(home)
    brief = make_key(home, days=0.5 / (24 * 3600))
    wait_until(lambda: guarded.get("/v1/info", headers=bearer(key)).status_code == 200)
    time.sleep(0.6)
    for wrong in (brief, key[:-1] + ("A" if key[-1] != "A" else "B"), key.upper(), key + " x", "rjepa_", ""):
        assert guarded.get("/v1/info", headers=bearer(wrong)).status_code == 401


def test_on_loopback_anybody_asks_and_a_key_still_says_who(home: Home) -> None:
    viewer = make_key(home, "viewer")
    settings = ServiceSettings(home=home.root, reload_seconds=0.05)
    with ready(create_app(settings, fake_loader(home))) as client:
        for headers in ({}, bearer("none"), bearer("sk-anything")):
            assert client.post("/v1/chat/completions", json=BODY, headers=headers).status_code == 200
        assert client.post("/v1/chat/completions", json=BODY, headers=bearer(viewer)).status_code == 403


def test_a_network_is_served_with_a_key_of_the_database_and_not_with_a_dead_one(home: Home) -> None:
    settings = ServiceSettings(home=home.root, host="0.0.0.0")
    with pytest.raises(InvalidInputError, match="no live key"):
        check_start(settings)
    key = make_key(home)
    check_start(settings)
    with open_database(home) as database:
        revoke_key(database, key[:18])
    with pytest.raises(InvalidInputError, match="no live key"):
        check_start(settings)


def test_while_the_database_is_away_keys_are_believed_for_a_minute_and_then_nobody_is(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(home)
    settings = ServiceSettings(home=home.root, require_key=True, reload_seconds=0.05)
    with TestClient(create_app(settings, fake_loader(home)), base_url="http://localhost") as client:
        wait_until(lambda: client.get("/v1/info", headers=bearer(key)).status_code == 200)

        def away(database: object) -> None:
            raise StorageError("the database is away", cure="bring it back")

        monkeypatch.setattr("serving.auth.list_keys", away)
        monkeypatch.setattr("serving.auth._FRESH_SECONDS", 0.0)
        assert client.get("/v1/info", headers=bearer(key)).status_code == 200
        monkeypatch.setattr("serving.auth._STALE_SECONDS", 0.0)
        refused = client.get("/v1/info", headers=bearer(key))
        assert refused.status_code == 503 and refused.headers["retry-after"] and refused.json()["error"]["cure"]
        assert client.get("/v1/health").status_code == 200
        monkeypatch.undo()
        wait_until(lambda: client.get("/v1/info", headers=bearer(key)).status_code == 200)


def token(key: Any = SECRET, algorithm: str | None = "HS256", **claims: Any) -> str:
    whole = {"sub": "carol", "role": "user", "exp": int(time.time()) + 60} | claims
    return jwt.encode({name: value for name, value in whole.items() if value is not None}, key, algorithm)


@pytest.fixture
def with_tokens(home: Home, tmp_path: Path) -> Iterator[TestClient]:
    (tmp_path / "secret").write_text(SECRET + "\n")
    settings = ServiceSettings(
        home=home.root, host="0.0.0.0", jwt_key_file=tmp_path / "secret", jwt_audience="rjepa", reload_seconds=0.05
    )
    with TestClient(create_app(settings, fake_loader(home))) as client:
        wait_until(lambda: client.get("/v1/ready").status_code == 200)
        yield client


def test_a_token_may_what_its_role_may(with_tokens: TestClient) -> None:
    for role, status in (("viewer", 403), ("user", 200), ("operator", 200)):
        headers = bearer(token(role=role, aud="rjepa"))
        assert with_tokens.post("/v1/chat/completions", json=BODY, headers=headers).status_code == status


WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "no expiry": {"exp": None},
    "expired": {"exp": 1_700_000_000},
    "not yet": {"nbf": 4_000_000_000},
    "no role": {"role": None},
    "another role": {"role": "root"},
    "a list of roles": {"role": ["operator"]},
    "no subject": {"sub": None},
    "two lines": {"sub": "a\nb"},
    "another audience": {"aud": "other"},
    "no audience": {"aud": None},
}


@pytest.mark.parametrize("name", WRONG_CLAIMS)
def test_a_token_with_other_claims_is_refused(with_tokens: TestClient, name: str) -> None:
    text = token(**({"aud": "rjepa"} | WRONG_CLAIMS[name]))
    assert with_tokens.get("/v1/info", headers=bearer(text)).status_code == 401


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_the_algorithm_is_the_operators_and_not_the_tokens(with_tokens: TestClient) -> None:
    right = token(aud="rjepa")
    head, body, signature = right.split(".")
    unsigned = jwt.encode({"sub": "x", "role": "operator", "aud": "rjepa", "exp": 4_000_000_000}, None, "none")
    forged = [
        unsigned,
        unsigned.rstrip(".") + "." + signature,
        token(aud="rjepa", algorithm="HS512"),
        token(aud="rjepa", key="another secret of 32 bytes or so.."),
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-2]}AA",
        f"{head}.{body}",
        "a.b.c",
        "..",
    ]
    for text in forged:
        assert with_tokens.get("/v1/info", headers=bearer(text)).status_code == 401, text
    assert with_tokens.get("/v1/info", headers=bearer(right)).status_code == 200


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_tokens_are_read_with_a_public_key_that_signs_none(home: Home, tmp_path: Path, algorithm: str) -> None:
    private = rsa.generate_private_key(65537, 2048) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())
    encoding, file = serialization.Encoding.PEM, tmp_path / "public.pem"
    file.write_bytes(private.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))
    settings = ServiceSettings(home=home.root, host="0.0.0.0", jwt_key_file=file, jwt_algorithm=algorithm)
    with TestClient(create_app(settings, fake_loader(home))) as client:
        assert client.get("/v1/info", headers=bearer(token(private, algorithm))).status_code == 200
        # The public key is known to everyone: as a secret of HS256 it must open nothing.
        head, body, _ = token("x" * 32).split(".")
        forged = jwt.get_algorithm_by_name("HS256").sign(f"{head}.{body}".encode(), file.read_bytes())
        text = f"{head}.{body}.{jwt.utils.base64url_encode(forged).decode()}"
        assert client.get("/v1/info", headers=bearer(text)).status_code == 401
    file.write_bytes(private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    with pytest.raises(InvalidInputError, match="private key"):
        create_app(settings, fake_loader(home))


@pytest.mark.parametrize("content", [b"", b"short", None, b"-----BEGIN NOTHING-----"])
def test_a_service_does_not_start_with_a_bad_key_of_tokens(home: Home, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    algorithm = "RS256" if content and content.startswith(b"-----") else "HS256"
    with pytest.raises(InvalidInputError, match=str(file)):
        create_app(ServiceSettings(home=home.root, jwt_key_file=file, jwt_algorithm=algorithm), fake_loader(home))
