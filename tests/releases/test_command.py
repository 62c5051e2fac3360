import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from rjepa.cli.release import register
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.releases.bundle import release_folder
from rjepa.releases.pointer import current_release

from .conftest import Publisher


class Command:
    """`rjepa release` against one home."""

    def __init__(self) -> None:
        self._app = typer.Typer()
        register(self._app)

    def __call__(self, *arguments: str) -> str:
        result = CliRunner().invoke(self._app, ["release", *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0
        return result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def command(publisher: Publisher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RJEPA_HOME", str(publisher.home.root))
    return Command()


def test_the_list_marks_what_is_served(command: Command, publisher: Publisher) -> None:
    first, second = (publisher.publish(seed).manifest.release_id for seed in (1, 2))
    assert [(row["release"], row["current"]) for row in command.json("list")] == [(first, False), (second, True)]
    lines = command("list").splitlines()
    assert [line.split()[0] for line in lines[2:]] == [first, "*"] and lines[3].split()[1] == second
    assert "0.500" in lines[2]


def test_an_empty_list_is_no_error(command: Command) -> None:
    assert command.json("list") == [] and command("list") == ""


def test_show_tells_everything_and_checks_every_byte(command: Command, publisher: Publisher) -> None:
    first, second = (publisher.publish(seed).manifest.release_id for seed in (1, 2))
    value = command.json("show")
    assert value["release_id"] == second and value["current"] and value["replaces"] == first
    assert command.json("show", first)["current"] is False
    assert "all hashes match" in command("show") and "run-1" in command("show")
    (release_folder(publisher.home, "tiny-a", first) / "calibration.json").write_text("{}")
    with pytest.raises(CorruptError):
        command("show", first)


def test_rollback_and_its_undoing(command: Command, publisher: Publisher) -> None:
    first, second = (publisher.publish(seed).manifest.release_id for seed in (1, 2))
    assert command.json("rollback", "--reason", "worse") == {"llm": "tiny-a", "before": second, "current": first}
    assert command.json("show")["history"][-1]["reason"] == "worse"
    assert second in command("rollback", "--to", second)
    assert current_release(publisher.home, "tiny-a") == second


def test_a_rollback_mends_a_broken_pointer(command: Command, publisher: Publisher) -> None:
    first = publisher.publish(1).manifest.release_id
    (publisher.home.releases("tiny-a") / "CURRENT").write_text("nonsense")
    assert command.json("rollback", "--to", first) == {"llm": "tiny-a", "before": None, "current": first}


@pytest.mark.parametrize("wrong", ["../../etc", "20260101T000000Z-aaaaaaaaaaaa", "x"])
def test_a_wrong_id_is_refused_with_a_cure(command: Command, publisher: Publisher, wrong: str) -> None:
    publisher.publish(1)
    with pytest.raises((InvalidInputError, NotFoundError), match="release list"):
        command("rollback", "--to", wrong)


def test_a_wrong_tag_is_refused(command: Command) -> None:
    with pytest.raises(InvalidInputError):
        command("list", "--llm", "a|b")


def test_without_a_release_show_names_the_cure(command: Command) -> None:
    with pytest.raises(NotFoundError, match="make demo"):
        command("show")
