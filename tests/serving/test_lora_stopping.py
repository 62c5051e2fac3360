"""Stopping what follows the LoRAs that should be served."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from rjepa.database import Database, open_database
from rjepa.home import Home
from rjepa.living.served_loras import ServedSet, read_served
from serving import loras
from serving.errors import NotReadyError
from serving.loras import LoadedLoras
from tests.patience import PATIENCE


def test_stopping_waits_for_a_question_to_the_database_and_asks_none_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread goes on when its task is cancelled: closed under its hands, it would leave a connection behind."""
    home, order = Home(tmp_path / "home"), list[str]()
    asked, go_on = threading.Event(), threading.Event()
    database = open_database(home)
    close = database.close
    monkeypatch.setattr(database, "close", lambda: (order.append("closed"), close()))

    def slow(of: Database, llm_tag: str) -> ServedSet:
        asked.set()
        go_on.wait(PATIENCE)
        found = read_served(of, llm_tag)
        order.append("read")
        return found

    monkeypatch.setattr(loras, "read_served", slow)
    place = SimpleNamespace(home=home, llm_tag="tiny-a", open_database=lambda: database)
    host = SimpleNamespace(state=SimpleNamespace(engine=SimpleNamespace(source=None)))

    async def main() -> None:
        loaded = LoadedLoras(place, host, most=1, endpoint_folder=None, follow_seconds=60, health_seconds=60)  # type: ignore[arg-type]
        await loaded.start()
        assert await asyncio.to_thread(asked.wait, 20)
        stopping = asyncio.create_task(loaded.stop())
        await asyncio.sleep(0.2)
        assert not stopping.done() and order == []
        go_on.set()
        await stopping
        with pytest.raises(NotReadyError):
            await loaded.moves()

    asyncio.run(main())
    assert order == ["read", "closed"]
