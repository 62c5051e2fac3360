"""The settings of the nights: what is refused, what is recorded, and that two writers lose nothing."""

import threading
from typing import Any

import pytest
from sqlalchemy import insert

from rjepa.database import open_database
from rjepa.errors import CorruptError, InvalidInputError
from rjepa.home import Home
from rjepa.living.settings import (
    LEARNING_SETTINGS,
    WORKSPACE,
    LearningSettings,
    change_settings,
    read_settings,
    reset_settings,
    settings_changes,
)


def test_learning_is_off_until_somebody_turns_it_on(home: Home, each_database: str) -> None:
    with open_database(home) as database:
        assert not read_settings(database).enabled
        change_settings(database, {"enabled": True, "min_interactions": 5}, who="key:3f2a", reason="a try")
    with open_database(home) as database:  # another process
        found = read_settings(database)
        assert (found.enabled, found.min_interactions) == (True, 5)
        assert not read_settings(database, "elsewhere").enabled
        newest, older = settings_changes(database)
    assert (newest.setting, newest.before, newest.after) == ("min_interactions", 20, 5)
    assert (older.setting, older.before, older.after) == ("enabled", False, True)
    assert (older.who, older.reason) == ("key:3f2a", "a try") and older.at.endswith("+00:00")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"enabled": "yes"}, "enabled"),
        ({"min_interactions": 0}, "greater than or equal to 1"),
        ({"min_interactions": 1.5}, "min_interactions"),
        ({"learning_rate": 0.01}, "above its ceiling of 0.002"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate_ceiling": 1.0}, "learning_rate_ceiling"),
        ({"learning_rate_ceiling": 1e-4}, "0.0005 is above its ceiling"),
        ({"learning_rate_decay": 1.01}, "learning_rate_decay"),
        ({"replay_share": 1.0}, "replay_share"),
        ({"max_attempts": True}, "max_attempts"),
        ({"speed": 1}, "no learning setting 'speed'"),
    ],
)
def test_a_wrong_value_changes_nothing_and_says_why(home: Home, changes: dict[str, Any], words: str) -> None:
    with open_database(home) as database:
        with pytest.raises(InvalidInputError, match=words):
            change_settings(database, {"window_hours": 48.0, **changes}, who="me")
        assert read_settings(database) == LearningSettings()
        assert settings_changes(database) == []


def test_what_has_the_value_already_leaves_no_record(home: Home) -> None:
    with open_database(home) as database:
        change_settings(database, {"enabled": False, "replay_share": 0.25}, who="me")
        assert [change.setting for change in settings_changes(database)] == ["replay_share"]


def test_reset_turns_learning_off_and_says_what_was_before(home: Home) -> None:
    with open_database(home) as database:
        change_settings(database, {"enabled": True, "learning_rate": 1e-3}, who="me")
        assert reset_settings(database, who="you") == LearningSettings()
        changes = {change.setting: change for change in settings_changes(database, limit=2)}
    assert changes["learning_rate"].before == 1e-3 and changes["enabled"].after is False
    assert {change.who for change in changes.values()} == {"you"}


def test_changes_of_several_writers_at_once_are_all_kept(home: Home, each_database: str) -> None:
    names = ["max_attempts", "max_failures", "min_interactions"]

    def write(name: str) -> None:
        with open_database(home) as database:
            for value in range(30, 36):
                change_settings(database, {name: value}, who=name)

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_database(home) as database:
        found, changes = read_settings(database), settings_changes(database)
    assert [getattr(found, name) for name in names] == [35, 35, 35]
    for name in names:
        own = [change for change in reversed(changes) if change.who == name]
        assert [change.after for change in own] == list(range(30, 36))
        assert [change.before for change in own[1:]] == list(range(30, 35))


def test_a_value_of_another_program_is_named_not_guessed(home: Home) -> None:
    with open_database(home) as database:
        row = {"workspace": WORKSPACE, "setting": "min_interactions", "value": "many"}
        database.transact(lambda connection: connection.execute(insert(LEARNING_SETTINGS).values(**row)))
        with pytest.raises(CorruptError, match="min_interactions"):
            read_settings(database)
