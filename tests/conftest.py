"""Fixtures that several folders share: a real Postgres, and both databases in turn. Where temporary files go, and in
which order tests run.

Nothing of rjepa is imported here: what is imported after `check_shapes` is checked, what was before is not.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG

from . import tiers
from .patience import PATIENCE
from .postgres import Server, missing, throw_away_server
from .shapes import check_shapes

_MEMORY = Path("/dev/shm")
_MEMORY_BYTES = 6 << 30
"""Free bytes from which on temporary files may lie in memory: a whole run writes some two gigabytes."""

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each of the processes has a core: torch's threads would wait for one another. Before torch is first imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

check_shapes()

for _limit in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, _limit, PATIENCE)  # of requests that name none: five seconds are too few


def _lies_in_memory() -> bool:
    """Whether `_MEMORY` is there, has room, and may hold programs that tests write and run."""
    if not os.access(_MEMORY, os.W_OK) or os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC:
        return False
    return shutil.disk_usage(_MEMORY).free >= _MEMORY_BYTES


# Tests wait for thousands of fsyncs, which a file system in memory answers at once. A home that TMPDIR names is kept.
if "TMPDIR" not in os.environ and _lies_in_memory():
    os.environ["TMPDIR"] = str(_MEMORY)
    tempfile.tempdir = None


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests are marked, long files begin first."""
    tiers.mark_and_order(items, tiers.read_durations())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """With RJEPA_TEST_DURATIONS, keep what this run measured."""
    if os.environ.get("RJEPA_TEST_DURATIONS"):
        stats = terminalreporter.stats
        reports = [report for name in ("passed", "") for report in stats.get(name, [])]
        tiers.write_durations(tiers.measured(reports))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A Postgres server of our own, for the session; skips where Postgres is not installed."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with throw_away_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def each_database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs twice: upon the file of a home, and upon a new database of a real Postgres server."""
    monkeypatch.delenv("RJEPA_DATABASE_URL", raising=False)
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres")
        monkeypatch.setenv("RJEPA_DATABASE_URL", server.new_database())
    return str(request.param)
