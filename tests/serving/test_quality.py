"""What the collector counts, what it drops, and that windows reach the database whatever happens meanwhile."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from rjepa.database import open_database
from rjepa.errors import StorageError
from rjepa.home import Home
from rjepa.keys import create_key
from rjepa.living.health import MEASURES, compare
from rjepa.living.windows import Window, read_windows
from rjepa.releases.pointer import require_current
from serving.app import create_app
from serving.metrics import Metrics
from serving.quality import MAX_ITEMS, MOST_OF_ONE, Item, Quality
from serving.settings import ServiceSettings
from tests.patience import wait_until

from .fakes import FakeEngine, fake_loader, ready, running, wait_for_release


def ask(client: TestClient | httpx.Client, words: str = "x", mode: str = "rerank", **others: Any) -> httpx.Response:
    body = {"model": f"tiny-a:{mode}", "messages": [{"role": "user", "content": words}], **others}
    return client.post("/v1/chat/completions", json=body)


@contextlib.contextmanager
def serving(home: Home, engines: list[FakeEngine]) -> Iterator[TestClient]:
    settings = ServiceSettings(home=home.root, reload_seconds=0.05, _env_file=None)
    app = create_app(settings, fake_loader(home, engines))
    with ready(app, raise_server_exceptions=False) as client:
        yield client


def window_of(home: Home) -> Window:
    with open_database(home) as database:
        (window,) = read_windows(database, "tiny-a", 0)
    return window


def test_answers_whole_and_streamed_reach_the_window_of_their_release(home: Home, engines: list[FakeEngine]) -> None:
    with serving(home, engines) as client:
        assert ask(client).status_code == ask(client, stream=True).status_code == 200
        assert ask(client, mode="off").status_code == 200
        assert ask(client, "foreign").status_code == 200
        # None of these is an answer of the release, or a fault of it.
        assert ask(client, "long").status_code == 400
        assert client.post("/v1/chat/completions", json={}).status_code == 400
        assert client.get("/v1/info").status_code == 200
    window = window_of(home)
    assert (window.release_id, window.answers, window.errors) == (require_current(home, "tiny-a"), 4, 0)
    assert window.unfamiliar == 1 and 0 < window.energies < 4
    assert window.energy_sum > 0 and window.energy_squares > 0
    assert window.started_at_ms < window.ended_at_ms


def test_an_answer_counts_one_vote_however_often_it_is_voted_on(home: Home, engines: list[FakeEngine]) -> None:
    with serving(home, engines) as client:
        answer_id = ask(client).json()["id"]
        for vote in ("up", "down", "down"):
            given = {"id": answer_id, "vote": vote}
            assert client.post("/v1/feedback", json=given).json()["vote"] == vote
        other = {"id": ask(client).json()["id"], "vote": "down"}
        client.post("/v1/feedback", json=other)
    window = window_of(home)
    assert (window.release_id, window.thumbs_up, window.thumbs_down) == (require_current(home, "tiny-a"), 1, 1)


def test_one_client_alone_does_not_make_a_release_fall_and_an_operator_may(
    home: Home, engines: list[FakeEngine]
) -> None:
    with open_database(home) as database:
        keys = {role: create_key(database, role, role)[0] for role in ("user", "operator")}  # type: ignore[arg-type]
    many = MOST_OF_ONE + 15
    down = {}
    for role, key in keys.items():
        with serving(home, engines) as client:
            client.headers["authorization"] = f"Bearer {key}"
            for _ in range(many):
                answer_id = ask(client, "foreign").json()["id"]
                assert client.post("/v1/feedback", json={"id": answer_id, "vote": "down"}).status_code == 200
        with open_database(home) as database:
            window = read_windows(database, "tiny-a", 0)[-1]
        assert window.answers == many
        assert window.unfamiliar == window.energies
        down[role] = (window.thumbs_down, window.energies)
    assert down == {"user": (MOST_OF_ONE, MOST_OF_ONE), "operator": (many, many)}
    with open_database(home) as database:
        found = compare(MEASURES[2], [], read_windows(database, "tiny-a", 0)[:1])
    assert not found.fell


def test_a_failure_counts_whether_it_is_a_status_or_the_end_of_a_stream(home: Home, engines: list[FakeEngine]) -> None:
    with serving(home, engines) as client:
        assert ask(client, "broken").status_code == 500
        assert "error" in ask(client, "broken", stream=True).text
        figures = client.app.state.quality.figures()  # type: ignore[attr-defined]
    window = window_of(home)
    assert (window.errors, window.answers) == (2, 0)
    assert (figures.failed, figures.quality, figures.waiting) == (2, 0.0, 2)


def test_who_leaves_is_no_failure(home: Home, engines: list[FakeEngine]) -> None:
    app = create_app(ServiceSettings(home=home.root, reload_seconds=0.05, _env_file=None), fake_loader(home, engines))
    with running(app) as address, httpx.Client(base_url=address.removesuffix("/v1")) as client:
        wait_for_release(app)
        with pytest.raises(httpx.ReadTimeout):
            body = {"model": "tiny-a", "messages": [{"role": "user", "content": "endless"}]}
            client.post("/v1/chat/completions", json=body, timeout=0.3)
        wait_until(lambda: app.state.admission.in_flight == 0)
        assert app.state.quality.figures().recent == 0


class Memory:
    """Keeps windows, or refuses while `full`."""

    def __init__(self) -> None:
        self.windows: list[Window] = []
        self.full = False

    def write(self, windows: Sequence[Window]) -> None:
        if self.full:
            raise StorageError("the disk is full", cure="free some")
        self.windows += windows


def test_what_there_is_no_room_for_is_dropped_and_counted() -> None:
    memory, figures = Memory(), Metrics()
    quality = Quality("tiny-a", memory.write, figures)
    for _ in range(MAX_ITEMS + 3):
        quality.add(Item(release_id="r", answers=1))
    assert (quality.figures().waiting, quality.figures().dropped) == (MAX_ITEMS, 3)
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(generate_latest(figures.registry).decode())
        for sample in family.samples
    }
    assert samples["rjepa_quality_dropped_total"] == 3
    asyncio.run(quality.flush())
    assert [window.answers for window in memory.windows] == [MAX_ITEMS] and quality.figures().waiting == 0


def test_a_window_that_cannot_be_written_is_written_later_with_what_came_since() -> None:
    memory = Memory()
    quality = Quality("tiny-a", memory.write, Metrics())
    quality.add(Item(release_id="r1", answers=2, energies=[0.5, 1.0]))
    memory.full = True
    asyncio.run(quality.flush())
    assert memory.windows == [] and quality.figures().waiting == 1
    quality.add(Item(release_id="r1", failed=True))
    quality.voted("r2", up=False)
    quality.voted("r1", up=True)
    memory.full = False
    asyncio.run(quality.flush())
    first, second = sorted(memory.windows, key=lambda window: window.release_id)
    assert (first.answers, first.errors, first.thumbs_up, first.thumbs_down) == (2, 1, 1, 0)
    assert (first.energies, first.energy_sum, first.energy_squares) == (2, 1.5, 1.25)
    assert (second.release_id, second.answers, second.thumbs_down) == ("r2", 0, 1)
    asyncio.run(quality.flush())
    assert len(memory.windows) == 2


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (Item(seconds=1), Item(seconds=40)),
        (Item(parts=[1.0, 0.9]), Item(parts=[1.0, 0.2])),
        (Item(parts=[1.0]), Item(parts=[0.5])),
        (Item(parts=[0.0], seconds=900), Item(failed=True, parts=[1.0])),
        (Item(vote=True), Item(vote=False)),
    ],
)
def test_quality_falls_with_what_users_mind(better: Item, worse: Item) -> None:
    assert 1 >= better.quality > worse.quality >= 0
