"""Records that change, in one SQL database: teacher calls, release decisions, feedback, keys. SQLAlchemy Core, no ORM.

Opening the database, making missing tables and running transactions belong here. Which tables there are does not: each
room defines its own upon `METADATA`, in a module of its own. What never changes once it is written (datasets, latents,
checkpoints, bundles) is files, not rows.

A room defines its tables so (`rjepa/teacher/tables.py` is an example):

    from sqlalchemy import BigInteger, Column, String, Table
    from rjepa.database import METADATA

    RELEASE_DECISIONS: Final = Table(
        "release_decisions",            # the room's name first: all rooms share one database
        METADATA,
        Column("id", String(64), primary_key=True),
        Column("llm_tag", String(64), nullable=False, index=True),
        Column("decided_at", BigInteger, nullable=False),
    )

and uses them so, in a module that imports the one above (tables of modules that are not imported are not made):

    with open_database(home) as database:
        database.transact(lambda connection: connection.execute(insert(RELEASE_DECISIONS).values(...)))
        with database.reading() as connection:
            rows = connection.execute(select(RELEASE_DECISIONS)).all()

Types that mean the same on SQLite and Postgres: String, Text, Integer, BigInteger, Boolean, Float, JSON, LargeBinary.
A moment is whole milliseconds since 1970 in a BigInteger. Text for Postgres holds no NUL character.
A change of the columns of an existing table raises `SCHEMA_VERSION` by one.
"""

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pydantic import SecretStr
from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from rjepa.errors import CorruptError, InvalidInputError, RjepaError, StorageError
from rjepa.home import Home
from rjepa.settings import load_settings

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table of the database. Names of indexes and keys follow from it, so that they are the same everywhere."""

SCHEMA_VERSION: Final = 1
"""Goes up where a table that exists is changed. A new table needs no new version: it is made where it is missing."""

PATIENCE_SECONDS: Final = 30.0
"""How long a transaction waits for others. Transactions take milliseconds: longer than that is a stuck process."""

_SCHEMA: Final = Table("rjepa_schema", METADATA, Column("version", Integer, primary_key=True, autoincrement=False))
_WRITING: Final = "rjepa_writing"
"""Execution option of a connection whose next transaction writes."""
_CREATION_LOCK: Final = 7_236_911
"""Any number: the advisory lock that processes take on Postgres while they make tables."""
_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25
"""Seconds between two tries of a transaction: about its own length at first, and never so long that a user notices."""
_BUSY_MILLISECONDS: Final = 1000
"""How long SQLite itself waits for its write lock; what is left of the patience is spent in tries of our own."""
_CONNECT_SECONDS: Final = 10
_PRAGMAS: Final = ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON")

_CREATING: Final = threading.Lock()
"""Until a thread has made the file and let it go, no other of this process opens it."""

Result = TypeVar("Result")


class SchemaError(RjepaError):
    """The database was made by another version of this project."""


class Database:
    """An open database. Made by `open_database`; may be shared by threads, not by processes."""

    def __init__(self, engine: Engine, place: str, patience: float = PATIENCE_SECONDS) -> None:
        """Wrap an engine. `place` is what errors call the database: a path, or a host without user and password."""
        self.engine = engine
        self.place = place
        self._patience = patience

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the file of one machine; else it is a Postgres server."""
        return self.engine.dialect.name == "sqlite"

    def transact(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in one transaction, alone, and return its result once it is durable.

        Where another process is in the way, everything is undone and `work` is called again: it must do nothing but
        read and write through its connection. An exception out of `work` undoes the transaction.

        Raises:
            StorageError: the database cannot be reached or written, or others kept it busy for too long.
            CorruptError: the file is damaged.
            sqlalchemy.exc.IntegrityError: a row breaks a constraint of its table.
        """
        options = {_WRITING: True} if self.is_sqlite else {"isolation_level": "SERIALIZABLE"}
        return self._patiently(lambda: self._once(work, options))

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the database, whatever others write meanwhile. It writes nothing.

        Raises:
            StorageError: the database cannot be reached.
            CorruptError: the file is damaged.
        """
        try:
            with self.engine.connect() as connection, connection.execution_options(**self._reading_options()).begin():
                yield connection
        except DBAPIError as error:
            raise self._translated(error) from error

    def now_ms(self, connection: Connection) -> int:
        """The database's own time, so that machines whose clocks differ agree on it."""
        if self.is_sqlite:  # everybody who uses the file is on this machine
            return time.time_ns() // 1_000_000
        return int(connection.execute(text("SELECT extract(epoch FROM clock_timestamp()) * 1000")).scalar_one())

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def create_missing_tables(self) -> None:
        """Make what is missing of `METADATA`; several processes may do so at once.

        Raises:
            SchemaError: the database is of another version, or a table lacks a column.
            StorageError, CorruptError: as of `transact`.
        """
        if self._patiently(lambda: self._once(self._is_complete, self._reading_options())):
            return
        # A transaction that waited for the lock on Postgres has to see what the holder wrote: a
        # snapshot for each statement.
        options = {_WRITING: True} if self.is_sqlite else {"isolation_level": "READ COMMITTED"}
        self._patiently(lambda: self._once(self._create, options))

    def _reading_options(self) -> dict[str, Any]:
        return {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

    def _create(self, connection: Connection) -> None:
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _CREATION_LOCK})
        known = inspect(connection).has_table(_SCHEMA.name)
        METADATA.create_all(connection)
        if not known:
            connection.execute(insert(_SCHEMA).values(version=SCHEMA_VERSION))

    def _is_complete(self, connection: Connection) -> bool:
        """Whether all tables are there. Raises SchemaError where one is there and is not as it should be."""
        inspector = inspect(connection)
        names = set(inspector.get_table_names())
        if _SCHEMA.name not in names:
            return False
        version = self._version(connection)
        if version != SCHEMA_VERSION:
            raise self._wrong_schema(f"has version {version}, this program needs version {SCHEMA_VERSION}")
        for table in METADATA.tables.values():
            if table.name in names:
                there = {column["name"] for column in inspector.get_columns(table.name)}
                missing = [column.name for column in table.columns if column.name not in there]
                if missing:
                    raise self._wrong_schema(f"has a table {table.name} without {', '.join(missing)}")
        return names.issuperset(METADATA.tables)

    def _version(self, connection: Connection) -> int | None:
        return connection.execute(select(_SCHEMA.c.version)).scalar()

    def _wrong_schema(self, problem: str) -> SchemaError:
        return SchemaError(
            f"the database {self.place} {problem}",
            cure="use the rjepa that made it, or move the database away (its records are then not seen) and start anew",
        )

    def _once(self, work: Callable[[Connection], Result], options: dict[str, Any]) -> Result:
        with self.engine.connect() as connection, connection.execution_options(**options).begin():
            return work(connection)

    def _patiently(self, attempt: Callable[[], Result]) -> Result:
        """Try again while others are in the way, for as long as the patience lasts."""
        deadline, pause = time.monotonic() + self._patience, _FIRST_PAUSE
        while True:
            try:
                return attempt()
            except IntegrityError:
                raise
            except DBAPIError as error:
                if not _is_busy(error):
                    raise self._translated(error) from error
                if time.monotonic() > deadline:
                    raise StorageError(
                        f"the database {self.place} was busy for {self._patience:g} seconds",
                        cure="look for another rjepa process that hangs, stop it, and run this again",
                    ) from error
            time.sleep(pause * random.uniform(0.5, 1.5))  # two that wait for each other must not keep step
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _translated(self, error: DBAPIError) -> Exception:
        """Our error for one of the machine's or the user's making; the library's own where the fault is in our SQL."""
        if self.is_sqlite:
            name = getattr(error.orig, "sqlite_errorname", "")
            if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                return CorruptError(
                    f"the database {self.place} is damaged ({error.orig})",
                    cure="bring the file back from a backup, or move it away: what it records is then lost",
                )
            if name.startswith(_SQLITE_STORAGE):
                return StorageError(
                    f"the database {self.place} cannot be used ({error.orig})",
                    cure="free some space, or point RJEPA_HOME at a folder on a local disk that you can write to",
                )
            return error
        state = getattr(error.orig, "sqlstate", None)
        if (
            error.connection_invalidated
            or state is None
            or state.startswith(_POSTGRES_STORAGE)
            or state in _NOT_ALLOWED
        ):
            return StorageError(
                f"the database at {self.place} cannot be used ({_one_line(error.orig)})",
                cure="check that Postgres runs there, and the user, password and name in RJEPA_DATABASE_URL",
            )
        return error


_SQLITE_STORAGE: Final = (
    "SQLITE_BUSY",
    "SQLITE_CANTOPEN",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_LOCKED",
    "SQLITE_PERM",
    "SQLITE_PROTOCOL",
    "SQLITE_READONLY",
)
_POSTGRES_STORAGE: Final = ("08", "28", "3D", "53", "57", "58")
"""Classes of SQLSTATE: connection, authorisation, no such database, out of resources, shut down, system error."""
_POSTGRES_SCHEMES: Final = ("postgres", "postgresql", "postgresql+psycopg")
_NOT_ALLOWED: Final = ("25006", "42501")
"""A read-only server, and a user that may not do it."""
_POSTGRES_BUSY: Final = ("40001", "40P01", "55P03")
"""SQLSTATE of a transaction that met another: not serialisable, a deadlock, a lock that was not free."""


def open_database(home: Home, url: SecretStr | None = None) -> Database:
    """Open the database of a home, with every table of the rooms that are imported. Close it, or use it in a `with`.

    It is the one that `url`, or else `RJEPA_DATABASE_URL`, names; without either, the file `rjepa.db` of the home.

    Raises:
        InvalidInputError: the URL is none of a Postgres database.
        SchemaError: the database is of another version.
        StorageError: it cannot be reached, made or written.
        CorruptError: the file is damaged.
    """
    url = url or load_settings().database_url
    database = _postgres(url) if url is not None and url.get_secret_value() else _sqlite(home.database)
    try:
        database.create_missing_tables()
    except BaseException:
        database.close()
        raise
    return database


def _sqlite(path: Path) -> Database:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _create_private(path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path} ({error.strerror})", cure="point RJEPA_HOME at a folder that you can write to"
        ) from error
    engine = create_engine(URL.create("sqlite", database=str(path)), hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return Database(engine, str(path))


def _create_private(path: Path) -> None:
    """Make an empty file where there is none: prompts, feedback and keys are private to this account. SQLite gives its
    other files the same mode.

    A file that is there is never opened here. To close it would take away every lock that this process has on it, those
    of SQLite's connections too (https://www.sqlite.org/howtocorrupt.html, 2.2): the next process that closes the
    database would think itself alone and remove the log that this one goes on writing to.
    """
    with _CREATING, contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
    # What is deleted is overwritten, not only marked as free: some of it was somebody's words.
    for pragma in (f"busy_timeout = {_BUSY_MILLISECONDS}", *_PRAGMAS):
        connection.execute(f"PRAGMA {pragma}")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StorageError(
            f"a database in RJEPA_HOME cannot be kept in write-ahead mode (SQLite answers: {mode})",
            cure="point RJEPA_HOME at a folder on a local disk, or RJEPA_DATABASE_URL at a Postgres server",
        )


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once where a transaction writes: one that reads first could not get it any more."""
    writes = connection.get_execution_options().get(_WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgres(secret: SecretStr) -> Database:
    url = _postgres_url(secret.get_secret_value())
    try:
        engine = create_engine(
            url, hide_parameters=True, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT_SECONDS}
        )
    except ModuleNotFoundError:
        raise InvalidInputError(
            "RJEPA_DATABASE_URL names a Postgres database, and its driver is not installed",
            cure="install it: pip install 'rjepa[postgres]'",
        ) from None
    event.listen(engine, "connect", _prepare_postgres)
    return Database(engine, f"{url.host or 'local socket'}{f':{url.port}' if url.port else ''}/{url.database or ''}")


def _prepare_postgres(connection: Any, record: object) -> None:
    connection.autocommit = True
    connection.execute("SET synchronous_commit TO on")  # some servers are set up to answer before the disk does
    connection.autocommit = False


def _postgres_url(given: str) -> URL:
    """The URL for our driver. No error shows what was given: in a misread URL the password may be anywhere."""
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in _POSTGRES_SCHEMES or "@" in (url.host or ""):
        raise InvalidInputError(
            "RJEPA_DATABASE_URL is not the URL of a Postgres database",
            cure="write it as postgresql://user:password@host:5432/name, with %40 for an @ in the password;"
            " leave it out for a file in RJEPA_HOME",
        ) from None
    return url.set(drivername="postgresql+psycopg")


def _is_busy(error: DBAPIError) -> bool:
    if getattr(error.orig, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return True
    return getattr(error.orig, "sqlstate", None) in _POSTGRES_BUSY


def _one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split())[:300]
