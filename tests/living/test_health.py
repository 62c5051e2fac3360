"""Live health: a release that got worse is taken back, once; one that did not stays; nothing flaps."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rjepa.cli.main import build_app
from rjepa.database import open_database
from rjepa.home import Home
from rjepa.living.health import LEAST_NOW, MEASURES, Health, compare, keep_healthy, look_at_health
from rjepa.living.settings import change_settings
from rjepa.living.windows import Window, add_windows, read_windows
from rjepa.releases.history import AUTOMATIC, history
from rjepa.releases.pointer import ReleaseMovedError, current_release, promote, rollback
from tests.releases.conftest import Publisher

TAG = "tiny-a"


@pytest.fixture
def publisher(home: Home, tmp_path: Path) -> Publisher:
    return Publisher(home, tmp_path)


@pytest.fixture
def releases(home: Home, publisher: Publisher) -> tuple[str, str]:
    """Two releases, the second of which replaced the first a moment ago."""
    first = publisher.publish(1, 0.5).manifest.release_id
    second = publisher.publish(2, 0.6, rule="improve").manifest.release_id
    assert current_release(home, TAG) == second
    return first, second


def served(home: Home, release: str, *, ago: float = 0.0, minutes: float = 10.0, **counts: int) -> None:
    """The service answered under a release, until `ago` minutes before now."""
    with open_database(home) as database:
        with database.reading() as connection:
            ended = database.now_ms(connection) - round(ago * 60_000)
        window = Window(
            llm_tag=TAG, release_id=release, started_at_ms=ended - round(minutes * 60_000), ended_at_ms=ended, **counts
        )
        add_windows(database, [window])


def look(home: Home) -> Health:
    with open_database(home) as database:
        return look_at_health(home, database, TAG)


@pytest.mark.parametrize(
    ("before", "now", "name"),
    [
        ({"answers": 500, "errors": 2}, {"answers": 40, "errors": 20}, "errors"),
        (
            {"answers": 500, "energies": 500, "unfamiliar": 10},
            {"answers": 60, "energies": 60, "unfamiliar": 30},
            "unfamiliar",
        ),
        (
            {"answers": 500, "thumbs_up": 80, "thumbs_down": 20},
            {"answers": 90, "thumbs_up": 10, "thumbs_down": 40},
            "thumbs",
        ),
    ],
)
def test_a_release_that_got_worse_is_taken_back_and_the_history_says_why(
    home: Home, each_database: str, releases: tuple[str, str], before: dict[str, int], now: dict[str, int], name: str
) -> None:
    first, second = releases
    served(home, first, ago=20, **before)
    served(home, second, **now)
    found = keep_healthy(home, TAG)
    assert found.verdict == "fell" and found.rolled_back_to == first == current_release(home, TAG)
    last = history(home, TAG)[-1]
    assert last.is_automatic and last.reason.startswith(AUTOMATIC) and name in last.reason
    # What was gone back to is not looked at: it cannot go back and forth.
    served(home, first, answers=10, errors=90)
    assert keep_healthy(home, TAG).verdict == "not_looked_at" and current_release(home, TAG) == first


def test_a_release_like_the_one_before_stays(home: Home, releases: tuple[str, str]) -> None:
    first, second = releases
    served(home, first, ago=20, answers=500, energies=500, errors=5, unfamiliar=25, thumbs_up=70, thumbs_down=30)
    served(home, second, answers=200, energies=200, errors=3, unfamiliar=12, thumbs_up=25, thumbs_down=12)
    found = keep_healthy(home, TAG)
    assert found.verdict == "healthy" and current_release(home, TAG) == second


def test_a_few_bad_answers_decide_nothing(home: Home, releases: tuple[str, str]) -> None:
    first, second = releases
    served(home, first, ago=20, answers=500)
    served(home, second, errors=LEAST_NOW - 1)
    assert keep_healthy(home, TAG).verdict == "too_few" and current_release(home, TAG) == second


def test_a_broken_release_is_seen_even_where_nobody_asked_before(home: Home, releases: tuple[str, str]) -> None:
    served(home, releases[1], answers=5, errors=45)
    assert keep_healthy(home, TAG).rolled_back_to == releases[0]


def test_none_goes_back_twice_within_the_cool_down(home: Home, publisher: Publisher, releases: tuple[str, str]) -> None:
    first, second = releases
    served(home, second, answers=5, errors=45)
    keep_healthy(home, TAG)
    third = publisher.publish(3, 0.7).manifest.release_id
    served(home, third, answers=5, errors=45)
    found = keep_healthy(home, TAG)
    assert found.verdict == "fell" and found.rolled_back_to is None and "cooldown_minutes" in found.text
    assert current_release(home, TAG) == third


def test_an_operator_may_turn_it_off(home: Home, releases: tuple[str, str]) -> None:
    with open_database(home) as database:
        change_settings(database, {"automatic_rollback": False}, who="test")
    served(home, releases[1], answers=5, errors=45)
    found = keep_healthy(home, TAG)
    assert found.verdict == "fell" and "automatic_rollback is off" in found.text
    assert current_release(home, TAG) == releases[1]


def test_the_night_does_not_serve_again_what_was_taken_back_and_a_person_may(
    home: Home, publisher: Publisher, releases: tuple[str, str]
) -> None:
    first, second = releases
    served(home, second, answers=5, errors=45)
    keep_healthy(home, TAG)
    again = publisher.publish(2, 0.6, rule="improve")
    assert again.decision.reason == "taken_back" and current_release(home, TAG) == first
    assert publisher.publish(2, 0.6).current == second


def test_a_look_that_is_late_takes_nothing_back(home: Home, publisher: Publisher, releases: tuple[str, str]) -> None:
    first, second = releases
    promote(home, TAG, first)
    with pytest.raises(ReleaseMovedError):
        rollback(home, TAG, first, leaving=second)
    assert current_release(home, TAG) == first


def test_an_equally_healthy_release_is_hardly_ever_taken_back_however_often_one_looks() -> None:
    rng = np.random.default_rng(5)
    fallen = 0
    for _ in range(200):
        bad_before = int(rng.binomial(400, 0.05))
        before = [_window(answers=400 - bad_before, errors=bad_before)]
        bad = np.cumsum(rng.random(600) < 0.05)
        looks = ([_window(answers=n - int(bad[n - 1]), errors=int(bad[n - 1]))] for n in range(20, 601, 10))
        fallen += any(compare(MEASURES[0], before, now).fell for now in looks)
    assert fallen <= 2


def _window(**counts: int) -> Window:
    return Window(llm_tag=TAG, release_id="r", started_at_ms=0, ended_at_ms=1, **counts)


def test_windows_of_several_processes_add_up(home: Home, each_database: str, releases: tuple[str, str]) -> None:
    for _ in range(3):
        served(home, releases[1], answers=10, energies=10, energy_sum=5, energy_squares=3)
    with open_database(home) as database:
        assert len(read_windows(database, TAG, 0)) == 3
        assert read_windows(database, TAG, 2**62) == []
    assert next(each for each in look(home).found if each.name == "errors").now_all == 30


def test_the_command_tells_and_acts(home: Home, releases: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RJEPA_HOME", str(home.root))
    served(home, releases[1], answers=5, errors=45)
    seen = CliRunner().invoke(build_app(), ["living", "health", "--llm", TAG])
    assert seen.exit_code == 1 and "errors" in seen.stdout and current_release(home, TAG) == releases[1]
    acted = CliRunner().invoke(build_app(), ["living", "health", "--act", "--json", "--llm", TAG])
    assert acted.exit_code == 1 and current_release(home, TAG) == releases[0]
    assert CliRunner().invoke(build_app(), ["living", "health", "--llm", TAG]).exit_code == 0
