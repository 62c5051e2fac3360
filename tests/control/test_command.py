"""`rjepa living`: the same truth as the routes and the tools, in the account's name."""

import getpass
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rjepa.cli.main import build_app
from rjepa.database import open_database
from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.living.settings import read_settings, settings_changes
from rjepa.students.catalog import load_record
from rjepa.students.resolving import resolve_student
from tests.serving.fakes import publish


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(tmp_path / "home")
    publish(home, 1, fingerprint=resolve_student(home, load_record(home, "tiny-a")).fingerprint)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RJEPA_HOME", str(home.root))
    monkeypatch.setenv("RJEPA_DAGSTER_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("RJEPA_DATABASE_URL", raising=False)
    return home


def run(*words: str) -> Result:
    return CliRunner().invoke(build_app(), ["living", *words])


def test_learning_is_turned_on_from_a_shell_and_says_that_dagster_is_away(home: Home) -> None:
    done = run("enable", "--reason", "the pilot begins")
    assert done.exit_code == 0 and done.stdout == "" and "rjepa up" in done.stderr
    shown = run("status")
    assert "learning   on" in shown.stdout and "next night does not begin" in shown.stdout
    assert json.loads(run("status", "--json").stdout)["enabled"] is True
    run("disable")
    with open_database(home) as database:
        assert not read_settings(database).enabled
        assert {change.who for change in settings_changes(database)} == {f"account:{getpass.getuser()}"}


def test_settings_are_shown_and_changed_together_or_not_at_all(home: Home) -> None:
    done = run("settings", "min_interactions=7", "automatic_rollback=false", "learning_rate=0.001")
    assert done.exit_code == 0 and "false" in done.stdout
    assert json.loads(run("settings", "--json").stdout)["settings"]["min_interactions"] == 7
    for wrong in (["learning_rate=1"], ["enabled=yes"], ["min_interactions"], ["max_attempts=4", "speed=1"]):
        assert isinstance(run("settings", *wrong).exception, InvalidInputError), wrong
    with open_database(home) as database:
        found = read_settings(database)
    assert (found.min_interactions, found.learning_rate, found.max_attempts) == (7, 0.001, 3)


def test_weights_are_saved_where_the_command_says(home: Home) -> None:
    folder = Path(run("save", "--form", "gguf").stdout.strip())
    assert (folder / "tiny-a.gguf").is_file() and folder.is_relative_to(home.root.resolve())
    assert isinstance(run("save", "--form", "pickle").exception, InvalidInputError)
