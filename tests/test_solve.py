import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from rjepa.cli.solve import changes, register
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.reasoning.answer import Explanation
from rjepa.reasoning.changes import Repaired, Surprise
from tests.tiny_release import STATEMENT, TAG, publish, register_student, taught_folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    root = tmp_path_factory.mktemp("solve")
    home = Home(root / "home")
    publish(home, register_student(home, taught_folder(tmp_path_factory)), root / "sources")
    return home


@pytest.fixture
def solve(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RJEPA_HOME", str(home.root))
    monkeypatch.setenv("RJEPA_LLM", TAG)
    app = typer.Typer()
    register(app)

    def call(*arguments: str, **options: str) -> Result:
        return CliRunner().invoke(app, ["solve", *arguments], **options)

    return call


def test_a_problem_is_solved_with_energies_and_a_reason(solve) -> None:
    shown = solve(STATEMENT, "--num-candidates", "4")
    assert shown.exit_code == 0 and shown.exception is None
    assert "  1. Mia has" in shown.stdout and "candidate  4" in shown.stdout and "P(correct)" in shown.stdout
    assert "seed 0" in shown.stderr


def test_json_goes_to_stdout_alone_and_is_the_same_each_time(solve) -> None:
    first, second = (json.loads(solve(STATEMENT, "--json", "--num-candidates", "2").stdout) for _ in range(2))
    for shown in (first, second):
        del shown["cost"]["seconds"]
    assert first == second
    assert len(first["candidates"]) == 2


def test_a_problem_of_several_lines_comes_from_standard_input(solve) -> None:
    shown = solve("-", "--mode", "off", "--json", input=f"{STATEMENT}\n")
    assert json.loads(shown.stdout)["candidates"] == []


@pytest.mark.parametrize("arguments", [["--num-candidates", "0"], ["--num-candidates", "10000"], ["--mode", "plan"]])
def test_bad_options_are_refused_with_a_cure(solve, arguments: list[str]) -> None:
    error = solve(STATEMENT, *arguments).exception
    assert isinstance(error, InvalidInputError) and error.cure


def test_an_unknown_llm_is_told_before_anything_heavy_is_loaded(solve) -> None:
    error = solve(STATEMENT, "--llm", "nobody").exception
    assert isinstance(error, NotFoundError) and "make demo" in error.cure
    assert isinstance(solve(STATEMENT, "--llm", "a|b").exception, InvalidInputError)


def test_what_was_changed_and_what_was_expected_is_said_in_words() -> None:
    repaired = Repaired(
        candidate=0, rewritten=1, step=2, old="3 + 4 = 9", new="3 + 4 = 7", energy_old=2.0, energy_new=0.1,
        accepted=True, why="the whole chain scores 1.20 more",
    )  # fmt: skip
    surprise = Surprise(step=3, expected="7 * 3 = 21", written="7 * 3 = 31", energy=2.0, text="expected a, wrote b")
    explanation = Explanation(
        selection="best_of", reason="best_score", runner_up=None, margin=None, margin_terms={}, text="",
        repaired=(repaired, repaired.model_copy(update={"accepted": False})), surprises=(surprise,),
    )  # fmt: skip
    assert changes(explanation) == [
        "step 2 was written again, as the whole chain scores 1.20 more: '3 + 4 = 7', before '3 + 4 = 9'",
        "step 3 surprised R-JEPA: expected a, wrote b",
    ]
