import json
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from rjepa.cli.main import build_app
from rjepa.database import open_database
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.keys import API_KEYS, KeyRecord, create_key, find_live_key, list_keys, looks_like_key, revoke_key

DAY = 24 * 3600 * 1000


def by_id(records: list[KeyRecord]) -> dict[str, KeyRecord]:
    return {record.key_id: record for record in records}


def test_a_key_is_found_by_itself_alone_and_kept_nowhere(home: Home, each_database: str) -> None:
    with open_database(home) as database:
        key, record = create_key(database, "alice", "user")
        other, _ = create_key(database, "bob", "viewer")
        records, now = by_id(list_keys(database)), record.created_at_ms
        with database.reading() as connection:
            rows = str(connection.execute(select(API_KEYS)).all())
    assert looks_like_key(key) and key != other
    assert find_live_key(key, records, now) == record
    assert key not in rows and key.rpartition("_")[2] not in rows
    for wrong in ("", key[:-1], key + "A", key.swapcase(), f"{key[:19]}{other[19:]}", other[:19] + key[19:], "rjepa_é"):
        assert find_live_key(wrong, records, now) is None, wrong


def test_a_key_ends_when_it_expires_or_is_revoked(home: Home, each_database: str) -> None:
    with open_database(home) as database:
        key, record = create_key(database, "short", "user", days=1)
        lasting, _ = create_key(database, "long", "operator")
        records, now = by_id(list_keys(database)), record.created_at_ms
        assert find_live_key(key, records, now + DAY - 1) and not find_live_key(key, records, now + DAY)
        revoked = revoke_key(database, "long")
        assert revoked.revoked_at_ms and revoke_key(database, f"rjepa_{revoked.key_id}") == revoked
        records = by_id(list_keys(database))
    assert find_live_key(lasting, records, revoked.revoked_at_ms) is None
    assert find_live_key(key, records, now) is not None


def test_a_name_that_several_live_keys_have_revokes_none(home: Home, each_database: str) -> None:
    with open_database(home) as database:
        for _ in range(2):
            create_key(database, "twin", "user")
        with pytest.raises(InvalidInputError, match="2 keys"):
            revoke_key(database, "twin")
        with pytest.raises(NotFoundError):
            revoke_key(database, "nobody")
        assert all(record.revoked_at_ms is None for record in list_keys(database))


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "two\nlines", "nul\0"])
def test_a_name_that_does_not_fit_makes_no_key(home: Home, name: str) -> None:
    with open_database(home) as database:
        with pytest.raises(InvalidInputError):
            create_key(database, name, "user")
        assert list_keys(database) == []


def test_the_command_shows_a_key_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RJEPA_HOME", str(home.root))
    monkeypatch.delenv("RJEPA_DATABASE_URL", raising=False)
    run, app = CliRunner(), build_app()
    made = run.invoke(app, ["keys", "create", "alice", "--role", "viewer", "--days", "2", "--tokens-per-minute", "9"])
    key = made.stdout.strip()
    assert made.exit_code == 0 and looks_like_key(key) and "alice" in made.stderr and key not in made.stderr
    listed = run.invoke(app, ["keys", "list"]).stdout
    assert "alice" in listed and "viewer" in listed and "live" in listed and "9 tokens per minute" in listed
    assert key not in listed and key[:18] in listed
    assert run.invoke(app, ["keys", "revoke", key[:18]]).exit_code == 0
    (row,) = json.loads(run.invoke(app, ["keys", "list", "--json"]).stdout)
    assert row["state"] == "revoked" and row["expires"]
    assert isinstance(run.invoke(app, ["keys", "create", "x", "--role", "king"]).exception, InvalidInputError)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    return Home(tmp_path / "home")
