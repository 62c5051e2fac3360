"""Nights are rows of the database, on SQLite and on Postgres."""

from pathlib import Path

from rjepa.database import open_database
from rjepa.home import Home
from rjepa.living.attempts import begin, finish, list_attempts, refuse

SELECTION = "a" * 64


def test_a_night_is_there_from_its_beginning_and_says_what_it_came_to(each_database: str, tmp_path: Path) -> None:
    with open_database(Home(tmp_path)) as database:
        begun = begin(database, "tiny-a", "person", SELECTION, 12, dataset="v1.1.0", init_from="x", learning_rate=1e-3)
        running = list_attempts(database, "tiny-a")[0]
        assert (running.outcome, running.dataset, running.ended_at_ms) == ("running", "v1.1.0", None)
        finish(database, begun, "promoted", "better", "20260101T000000Z-0123456789ab")
        done = list_attempts(database, "tiny-a")[0]
        assert (done.outcome, done.text, done.release_id) == ("promoted", "better", "20260101T000000Z-0123456789ab")
        assert done.ended_at_ms is not None and done.ended_at_ms >= done.began_at_ms
        assert list_attempts(database, "tiny-b") == []


def test_a_refusal_is_kept_with_its_limit_and_said_once(each_database: str, tmp_path: Path) -> None:
    with open_database(Home(tmp_path)) as database:
        for _ in range(3):
            refuse(
                *(database, "tiny-a", "sensor", SELECTION, 3, "limited", "too few"),
                limit_name="min_interactions",
                limit_value=20,
            )
        refuse(database, "tiny-a", "sensor", SELECTION, 3, "nothing_new", "nothing")
        found = list_attempts(database, "tiny-a")
        assert [(one.outcome, one.limit_name, one.limit_value) for one in found] == [
            ("nothing_new", None, None),
            ("limited", "min_interactions", 20),
        ]
