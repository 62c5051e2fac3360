"""The command itself: what a user sees of errors, of help and of progress."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from rjepa import progress as progress_module
from rjepa.cli import bars, main
from rjepa.errors import NotFoundError


def rjepa(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "rjepa.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "RJEPA_HOME": str(home), **environment},
    )


def run_with(verb: object, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run an app of one verb through `main`; returns the exit code."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    app.command("verb")(verb)  # type: ignore[arg-type]
    monkeypatch.setattr(main, "build_app", lambda: app)
    monkeypatch.setattr(sys, "argv", ["rjepa", "verb", *arguments])
    with pytest.raises(SystemExit) as stop:
        main.main()
    return int(stop.value.code or 0)


def test_help_names_every_verb_that_is_installed(tmp_path: Path) -> None:
    done = rjepa("--help", home=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    for verb in ("backfill", "data", "demo", "eval", "llm", "release", "serve", "solve", "student", "up"):
        assert f" {verb} " in done.stdout


@pytest.mark.parametrize("verb", ["backfill", "demo", "llm add", "student train", "up", "llm list"])
def test_every_verb_shows_an_example(verb: str, tmp_path: Path) -> None:
    done = rjepa(*verb.split(), "--help", home=tmp_path)
    assert done.returncode == 0
    assert "Example: rjepa" in " ".join(done.stdout.split())


def test_an_expected_error_is_one_line_with_its_cure_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def verb() -> None:
        raise NotFoundError("there is no such thing", cure="make one")

    assert run_with(verb, monkeypatch) == 1
    assert capsys.readouterr().err == "error: there is no such thing\n  -> make one\n"


def test_a_full_disk_is_an_error_with_a_cure_wherever_it_happens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def verb() -> None:
        raise OSError(28, "No space left on device", "/x/y")

    assert run_with(verb, monkeypatch) == 1
    assert "RJEPA_HOME at a larger disk" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def verb() -> None:
        raise OSError(71, "Protocol error")

    with pytest.raises(OSError, match="Protocol error"):
        run_with(verb, monkeypatch)


def test_stopping_a_verb_is_no_error_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def verb() -> None:
        raise KeyboardInterrupt

    assert run_with(verb, monkeypatch) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_package_that_cannot_be_imported_takes_only_its_own_verbs_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib.metadata import EntryPoint

    broken = EntryPoint("broken", "no_such_package.cli:register", main.COMMANDS)
    whole = EntryPoint("data", "rjepa.cli.data:register", main.COMMANDS)
    monkeypatch.setattr(main, "entry_points", lambda group: [broken, whole])
    app = main.build_app()
    assert "`rjepa broken` is not available" in capsys.readouterr().err
    assert [group.name for group in app.registered_groups] == ["data"]


@pytest.mark.parametrize("tag", ["a|b", "A", "../x", "", "x" * 65])
def test_a_tag_that_dagster_would_drop_is_refused(tag: str, tmp_path: Path) -> None:
    done = rjepa("llm", "add", tag, "--model", "bundled:tiny-a", home=tmp_path)
    assert done.returncode == 1
    assert "cannot be used as llm_tag" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "registry").exists()


def test_an_unknown_student_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    done = rjepa("backfill", "--llm", "nobody", home=tmp_path)
    assert done.returncode == 1
    assert "tiny-a" in done.stderr and "Traceback" not in done.stderr


def test_an_unknown_dataset_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    done = rjepa("demo", "--dataset", "v9.9.9", home=tmp_path)
    assert done.returncode == 1
    assert "v1.0.0" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["demo", "up", "llm add x --model some/model"])
def test_a_home_that_cannot_be_written_is_refused_with_a_cure(verb: str, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    done = rjepa(*verb.split(), home=blocked, RJEPA_PORT="18431", RJEPA_DAGSTER_PORT="18432")
    assert done.returncode == 1
    assert "RJEPA_HOME" in done.stderr and "Traceback" not in done.stderr
    assert blocked.read_text() == "in the way"


def test_progress_in_a_log_is_a_few_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    with bars.progress_bar("stage") as progress:
        for done in range(100):
            now[0] += 1.0
            progress(done + 1, 100, "loss 1.0")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "stage: 10/100 loss 1.0"
