from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rjepa.home import Home
from rjepa.monitoring.releases import Share, read_releases
from rjepa.releases.pointer import rollback
from tests.serving.fakes import publish


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_releases_stand_in_the_order_of_their_making_with_what_was_measured(home: Home) -> None:
    first, second = publish(home, 1), publish(home, 2)
    found = read_releases(home, "tiny-a")
    assert [release.release_id for release in found.releases] == [first, second] and found.current == second
    assert [release.served for release in found.releases] == [False, True]
    assert found.releases[1].accuracy == Share.of(500, 1000)
    assert found.releases[1].by_domain["math"].problems == 1000


def test_an_interval_is_wider_on_fewer_problems_and_stays_within_the_shares_there_are() -> None:
    many, few, none = Share.of(500, 1000), Share.of(5, 10), Share.of(0, 10)
    assert many.low == pytest.approx(0.469, abs=0.001) and many.high == pytest.approx(0.531, abs=0.001)
    assert few.high - few.low > many.high - many.low
    assert none.low == 0.0 and 0.2 < none.high < 0.4


def test_moves_come_newest_first_and_the_week_leaves_out_what_is_older(home: Home) -> None:
    first = publish(home, 1)
    publish(home, 2)
    rollback(home, "tiny-a", reason="test")
    found = read_releases(home, "tiny-a")
    assert [move.action for move in found.moves] == ["rollback", "promote", "promote"]
    assert found.moves[0].target == first and found.current == first
    old = found.moves[-1].model_copy(update={"at": (datetime.now(UTC) - timedelta(days=8)).isoformat()})
    assert found.model_copy(update={"moves": (*found.moves, old)}).moves_of_the_week() == found.moves
    assert found.moves_since(datetime.now(UTC) + timedelta(days=1)) == ()


def test_a_damaged_record_leaves_its_release_without_figures(home: Home) -> None:
    publish(home, 1)
    for path in home.evaluations("tiny-a").rglob("*.json"):
        path.write_text("{}")
    (release,) = read_releases(home, "tiny-a").releases
    assert release.accuracy is None and release.by_domain == {}


def test_a_home_without_releases_has_none(home: Home) -> None:
    found = read_releases(home, "tiny-a")
    assert found.releases == () and found.moves == () and found.current is None
