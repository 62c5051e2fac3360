"""A throw-away Postgres server of this machine's binaries, for tests that must hold on the real thing.

Debian: `apt-get install -y postgresql`. Where the binaries are missing, those tests are skipped with that reason.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.patience import PATIENCE
from tests.ports import free_port

USER, PASSWORD = "rjepa", "a pass@word/of:ours"
"""A password that a URL has to escape, so that nothing shows it by accident."""
_QUOTED = "a%20pass%40word%2Fof%3Aours"
_START_SECONDS = 60


def binaries() -> Path | None:
    """The folder of initdb and postgres; None where Postgres is not installed."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((one for one in folders if (one / "initdb").exists() and (one / "postgres").exists()), None)


def missing() -> str | None:
    """Why there can be no server here; None where there can."""
    if binaries() is None:
        return "Postgres is not installed (apt-get install -y postgresql)"
    if os.geteuid() == 0 and (_unprivileged() is None or shutil.which("setpriv") is None):
        return "Postgres refuses root, and there is no user postgres or nobody, or no setpriv, to run it as"
    return None


class Server:
    """A running server. `process` is the postmaster itself."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port
        self._databases = 0

    def url(self, database: str, scheme: str = "postgresql") -> str:
        return f"{scheme}://{USER}:{_QUOTED}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of a database that nobody has used yet."""
        import psycopg

        self._databases += 1
        name = f"test{self._databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)


@contextlib.contextmanager
def throw_away_server() -> Iterator[Server]:
    """A cluster in a temporary folder, on a free port of loopback; gone afterwards, also if this process is killed."""
    bin_folder = binaries()
    assert bin_folder is not None
    folder = Path(tempfile.mkdtemp(prefix="rjepa-postgres-"))
    try:
        (folder / "password").write_text(PASSWORD)
        as_user = _become(folder)
        initdb = [
            str(bin_folder / "initdb"),
            "-D",
            str(folder / "data"),
            "-U",
            USER,
            "--pwfile",
            str(folder / "password"),
        ]
        initdb += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        made = subprocess.run([*as_user, *initdb], capture_output=True, text=True, cwd=folder)
        assert made.returncode == 0, made.stdout + made.stderr
        with _running(bin_folder, folder, as_user) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(bin_folder: Path, folder: Path, as_user: list[str]) -> Iterator[Server]:
    log = folder / "log"
    for _ in range(3):  # another process may take the free port before the server does
        port = free_port()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "fsync": "off",  # the machine does not lose power in a test
            "shared_buffers": "16MB",
            "max_connections": 60,
        }
        command = [str(bin_folder / "postgres"), "-D", str(folder / "data")]
        command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with log.open("ab") as file:
            process = subprocess.Popen([*as_user, *command], stdout=file, stderr=file, cwd=folder)
        try:
            if _answers(process, port):
                yield Server(process, port)
                return
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # Postgres: break off what runs and stop
            process.wait(PATIENCE)
    raise AssertionError(f"Postgres does not start: {log.read_text()[-2000:]}")


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    import psycopg

    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(
                host="127.0.0.1",
                port=port,
                user=USER,
                password=PASSWORD,
                dbname="postgres",
                connect_timeout=int(PATIENCE),
            ).close()
            return True
        time.sleep(0.05)
    return False


def _become(folder: Path) -> list[str]:
    """The command in front of one that runs as a user that Postgres accepts, and dies with this process."""
    die_with_us = ["--pdeathsig", "SIGINT"]
    if os.geteuid() != 0:
        return ["setpriv", *die_with_us] if shutil.which("setpriv") else []
    user = _unprivileged()
    assert user is not None
    for path in (folder, *folder.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return ["setpriv", *ids, *die_with_us]


def _unprivileged() -> pwd.struct_passwd | None:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None
