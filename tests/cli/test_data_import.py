import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rjepa.cli.data import register
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home

FIXTURES = Path(__file__).parent.parent / "problems" / "fixtures"
APP = typer.Typer()
register(APP)
APP.callback()(lambda: None)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("RJEPA_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


def imported(*arguments: str) -> dict:
    result = CliRunner().invoke(APP, ["data", "import", *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_table_with_other_column_names_is_imported(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("question,target\nHow many?,7\n")
    maps = ["--map", "statement=question", "--map", "answer=target"]
    found = imported(str(tmp_path / "t.csv"), "--name", "mine", *maps, "--split", "test", "--licence", "MIT")
    assert found == {
        "dataset": "mine",
        "problems": 1,
        "splits": {"train": 0, "validation": 0, "test": 1},
        "warnings": [],
    }


def test_a_benchmark_file_that_says_nothing_of_its_split_is_a_test() -> None:
    for benchmark, file in (("gsm8k", "gsm8k.jsonl"), ("svamp", "svamp.json"), ("hellaswag", "hellaswag.jsonl")):
        found = imported(str(FIXTURES / file), "--benchmark", benchmark, "--name", benchmark + "-file")
        assert found["splits"]["test"] == found["problems"] > 1


def test_a_training_file_of_a_benchmark_has_no_tests() -> None:
    found = imported(str(FIXTURES / "gsm8k.jsonl"), "--benchmark", "gsm8k", "--split", "train", "--name", "g")
    assert found["splits"]["test"] == 0 and found["problems"] == 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["{file}", "--map", "colour=red"], InvalidInputError, "is not FIELD=COLUMN"),
        (["{file}", "--format", "xml"], InvalidInputError, "no format"),
        (["{file}", "--benchmark", "gsm9k"], NotFoundError, "no benchmark"),
        (["{file}", "--benchmark", "gsm8k", "--split", "dev"], InvalidInputError, "no split 'dev'"),
        (["{file}", "--benchmark", "gsm8k", "--map", "answer=a"], InvalidInputError, "does not go with"),
        ([], InvalidInputError, "no file"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_cure(
    home: Home, arguments: list[str], error: type[Exception], message: str
) -> None:
    filled = [argument.replace("{file}", str(FIXTURES / "gsm8k.jsonl")) for argument in arguments]
    with pytest.raises(error, match=message) as caught:
        imported(*filled, "--name", "x")
    assert caught.value.cure  # type: ignore[attr-defined]
    assert not (home.registry / "datasets" / "x.yaml").exists()
