"""Fixtures that several folders share: a real Postgres, and both databases in turn.

Nothing of rjepa is imported here: what is imported after `check_shapes` is checked, what was before is not.
"""

import os
from collections.abc import Iterator

import pytest

from .postgres import Server, missing, throw_away_server
from .shapes import check_shapes

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each of the processes has a core: torch's threads would wait for one another. Before torch is first imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

check_shapes()


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
