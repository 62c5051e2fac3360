"""The database of records that change: on SQLite and on a real Postgres, with several processes and with kills."""

import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import BigInteger, Column, Connection, String, Table, insert, inspect, select, text, update
from sqlalchemy.exc import IntegrityError

from rjepa.database import METADATA, SCHEMA_VERSION, Database, SchemaError, open_database
from rjepa.errors import CorruptError, InvalidInputError, StorageError
from rjepa.home import Home

from .postgres import PASSWORD, Server

ROOT = Path(__file__).resolve().parents[1]
COUNTERS = Table(
    "test_counters",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
    keep_existing=True,
)
_PROLOGUE = """
import sys
from pathlib import Path
from sqlalchemy import insert, select, update
from rjepa.database import open_database
from rjepa.home import Home
from tests.test_database import COUNTERS, add_one
home = Home(Path(sys.argv[1]))
"""


def add_one(connection: Connection) -> int:
    """Read, then write what was read: goes wrong wherever two transactions overlap."""
    value = connection.execute(select(COUNTERS.c.value).where(COUNTERS.c.name == "n")).scalar_one() + 1
    connection.execute(update(COUNTERS).where(COUNTERS.c.name == "n").values(value=value))
    return int(value)


def value_of(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute(select(COUNTERS.c.value)).scalar_one())


def processes(home: Home, work: str, count: int) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _PROLOGUE + work, str(home.root)]
    return [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]


def finish(running: list[subprocess.Popen[str]]) -> None:
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors[-2000:]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_what_a_transaction_wrote_is_there_when_the_database_is_opened_again(each_database: str, home: Home) -> None:
    with open_database(home) as database:
        database.transact(lambda connection: connection.execute(insert(COUNTERS).values(name="n", value=2**40)))
    with open_database(home) as database:
        assert value_of(database) == 2**40
        assert database.is_sqlite == (each_database == "sqlite")


def test_a_transaction_that_raises_leaves_nothing_behind(each_database: str, home: Home) -> None:
    def half(connection: Connection) -> None:
        connection.execute(insert(COUNTERS).values(name="n", value=1))
        raise RuntimeError("half way")

    with open_database(home) as database:
        with pytest.raises(RuntimeError, match="half way"):
            database.transact(half)
        with database.reading() as connection:
            assert connection.execute(select(COUNTERS)).all() == []


def test_a_broken_constraint_is_told_apart_from_a_broken_database(each_database: str, home: Home) -> None:
    with open_database(home) as database:
        database.transact(lambda connection: connection.execute(insert(COUNTERS).values(name="n", value=0)))
        with pytest.raises(IntegrityError):
            database.transact(lambda connection: connection.execute(insert(COUNTERS).values(name="n", value=0)))


def test_processes_that_open_a_new_database_at_once_all_find_it_whole(each_database: str, home: Home) -> None:
    finish(processes(home, "open_database(home).close()", 6))
    with open_database(home) as database:
        assert set(inspect(database.engine).get_table_names()) >= {"rjepa_schema", "test_counters"}


def test_transactions_of_several_processes_act_as_if_each_were_alone(each_database: str, home: Home) -> None:
    with open_database(home) as database:
        database.transact(lambda connection: connection.execute(insert(COUNTERS).values(name="n", value=0)))
    work = "with open_database(home) as database:\n    for _ in range(50): database.transact(add_one)"
    finish(processes(home, work, 4))
    with open_database(home) as database:
        assert value_of(database) == 200


def test_threads_may_share_a_database(each_database: str, home: Home) -> None:
    with open_database(home) as database:
        database.transact(lambda connection: connection.execute(insert(COUNTERS).values(name="n", value=0)))
        threads = [threading.Thread(target=lambda: [database.transact(add_one) for _ in range(20)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert value_of(database) == 80


def test_a_kill_loses_nothing_that_was_returned_and_keeps_nothing_of_what_was_not(
    each_database: str, home: Home
) -> None:
    """The process says each number once its transaction has returned, and is killed while it goes on."""
    with open_database(home) as database:
        database.transact(lambda connection: connection.execute(insert(COUNTERS).values(name="n", value=0)))
    work = "database = open_database(home)\nwhile True: print(database.transact(add_one), flush=True)"
    (process,) = processes(home, work, 1)
    assert process.stdout is not None
    reported = 0
    for _ in range(100):
        reported = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()  # communicate() would miss the lines that were read ahead
    process.communicate()
    reported = max([reported, *(int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n"))])
    with open_database(home) as database:
        assert reported <= value_of(database) <= reported + 1, "the last one may be there though it was not reported"
        assert database.transact(add_one) > reported, "and the dead process holds no lock"


def test_what_is_written_stays_after_this_process_and_another_opened_and_closed_the_database(
    each_database: str, home: Home
) -> None:
    """A service holds the database open for days, opens it a second time here and there, and commands come and go."""
    with open_database(home) as held:
        held.transact(lambda connection: connection.execute(insert(COUNTERS).values(name="n", value=0)))
        with open_database(home) as again:
            assert value_of(again) == 0
        finish(processes(home, "open_database(home).close()", 1))
        assert held.transact(add_one) == 1
        finish(processes(home, "with open_database(home) as database: assert database.transact(add_one) == 2", 1))
        assert value_of(held) == 2


def test_a_reader_sees_one_state_while_another_writes(each_database: str, home: Home) -> None:
    with open_database(home) as database:
        database.transact(lambda connection: connection.execute(insert(COUNTERS).values(name="n", value=0)))
        with database.reading() as connection:
            before = connection.execute(select(COUNTERS.c.value)).scalar_one()
            database.transact(add_one)
            assert connection.execute(select(COUNTERS.c.value)).scalar_one() == before == 0
        assert value_of(database) == 1


def test_a_database_that_stays_busy_is_given_up_with_a_cure(home: Home) -> None:
    with open_database(home) as database:
        impatient = Database(database.engine, database.place, patience=0.01)
        other = sqlite3.connect(home.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="was busy") as caught:
            impatient.transact(add_one)
        assert "hangs" in caught.value.cure
        other.execute("ROLLBACK")
        other.close()


def test_a_database_of_another_version_is_refused(each_database: str, home: Home) -> None:
    with open_database(home) as database:
        database.transact(lambda connection: connection.execute(text("UPDATE rjepa_schema SET version = 999")))
    with pytest.raises(SchemaError, match=f"version 999, this program needs version {SCHEMA_VERSION}"):
        open_database(home)


def test_a_table_that_lacks_a_column_is_named(each_database: str, home: Home) -> None:
    with open_database(home) as database:
        database.transact(lambda connection: connection.execute(text("ALTER TABLE test_counters DROP COLUMN value")))
    with pytest.raises(SchemaError, match="test_counters without value"):
        open_database(home)


def test_the_file_is_durable_and_its_owners_alone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RJEPA_DATABASE_URL", raising=False)
    with open_database(home) as database, database.reading() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2, "FULL"
        files = list(home.root.glob("rjepa.db*"))
        assert len(files) == 3 and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)


def test_a_file_that_is_no_database_is_refused_and_left_alone(home: Home) -> None:
    home.root.mkdir()
    home.database.write_bytes(b"what is this?" * 500)
    with pytest.raises(CorruptError, match=r"rjepa\.db is damaged"):
        open_database(home)
    assert home.database.read_bytes().startswith(b"what is this?")


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="cannot write"):
        open_database(Home(tmp_path / "file"))


def test_a_full_disk_is_told(home: Home) -> None:
    with open_database(home) as database:

        def fill(connection: Connection) -> None:
            connection.execute(text("PRAGMA max_page_count = 10"))
            connection.execute(insert(COUNTERS), [{"name": f"{n:064d}", "value": n} for n in range(5000)])

        with pytest.raises(StorageError, match="full"):
            database.transact(fill)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_usual_spellings_of_a_postgres_url_are_understood(postgres: Server, home: Home, scheme: str) -> None:
    with open_database(home, SecretStr(postgres.url("postgres", scheme))) as database:
        assert database.place == f"127.0.0.1:{postgres.port}/postgres" and not home.root.exists()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:secretpart@host/db",
        "postgres//u:secretpart@host",
        "secretpart",
        "postgresql://u:a@secretpart@host/db",
        "postgresql://u:x@host:secretpart/db",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_being_shown(home: Home, url: str) -> None:
    with pytest.raises(InvalidInputError, match="RJEPA_DATABASE_URL") as caught:
        open_database(home, SecretStr(url))
    assert "secretpart" not in "".join(map(str, _all_of(caught.value))) and "%40" in caught.value.cure


def test_a_password_is_in_no_error(postgres: Server, home: Home, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    wrong = postgres.url("postgres").replace("ours", "theirs")
    gone = postgres.url("postgres").replace(f":{postgres.port}", ":1")
    for url in (wrong, gone, postgres.url("nowhere")):
        with pytest.raises(StorageError) as caught:
            open_database(home, SecretStr(url))
        shown = "".join(map(str, _all_of(caught.value))) + caplog.text
        assert "127.0.0.1" in shown
        assert all(word not in shown for word in (PASSWORD, "theirs", "pass%40word", "pass@word"))
    with open_database(home, SecretStr(postgres.url("postgres"))) as database:
        assert all("pass" not in shown for shown in (repr(database.engine), database.place))


def test_a_server_that_goes_away_is_told_and_used_again_when_it_is_back(postgres: Server, home: Home) -> None:
    """Every connection is cut by the server, as its restart does."""
    with open_database(home, SecretStr(postgres.new_database())) as database:

        def cut_off(connection: Connection) -> None:
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        with pytest.raises(StorageError, match=r"127\.0\.0\.1"):
            database.transact(cut_off)
        database.transact(lambda connection: connection.execute(insert(COUNTERS).values(name="n", value=7)))
        assert value_of(database) == 7


def test_settings_say_which_database(home: Home, monkeypatch: pytest.MonkeyPatch, postgres: Server) -> None:
    monkeypatch.setenv("RJEPA_DATABASE_URL", postgres.new_database())
    with open_database(home) as database:
        assert not database.is_sqlite
    monkeypatch.setenv("RJEPA_DATABASE_URL", "")
    with open_database(home) as database:
        assert database.is_sqlite and home.database.exists()


def _all_of(error: BaseException | None) -> list[Any]:
    """An error and everything that led to it: a traceback shows all of it."""
    found: list[Any] = []
    while error is not None:
        found += [error, *error.args]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found
