import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rjepa.cli.data import register
from rjepa.datasets.recipe import DatasetRecipe, load_recipe, recipe_yaml
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.files import write_json
from rjepa.home import Home
from tests.datasets.conftest import build

APP = typer.Typer()
register(APP)
APP.callback()(lambda: None)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("RJEPA_HOME", str(tmp_path))
    return Home(tmp_path)


@pytest.fixture
def made(home: Home) -> Home:
    recipe = DatasetRecipe(
        name="small",
        source="curriculum",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        counts={"math": {"train": 6, "test": 2}},
    )
    write_json(home.registry / "datasets" / "small.yaml", recipe_yaml(recipe))
    build(home, recipe)
    return home


def rjepa(*arguments: str) -> str:
    result = CliRunner().invoke(APP, ["data", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_names_every_dataset_and_whether_it_is_made(made: Home) -> None:
    rows = {row["dataset"]: row for row in json.loads(rjepa("list", "--json"))}
    assert rows["small"]["released"] and rows["small"]["problems"] == 8
    assert not rows["v1.0.0"]["released"]
    assert "not made yet" in rjepa("list")


def test_stats_show_counts_licences_and_the_validation_rate(made: Home) -> None:
    text = rjepa("stats", "small")
    assert "8 problems" in text and "100.0% valid" in text and "Apache-2.0 8" in text
    assert json.loads(rjepa("stats", "small", "--json"))["counts"]["by_domain"] == {"math": 8}


def test_show_prints_problems_with_their_chains(made: Home) -> None:
    text = rjepa("show", "small", "--limit", "1", "--split", "train")
    assert "gold answer:" in text and "Step 1: " in text and "-- right" in text
    rows = json.loads(rjepa("show", "small", "--limit", "2", "--json"))
    assert len(rows) == 2 and rows[0]["chains"][0]["is_valid"]


def test_verify_says_that_a_dataset_is_intact(made: Home) -> None:
    assert "small is intact" in rjepa("verify", "small")
    assert json.loads(rjepa("verify", "small", "--json"))["problems"] == 8


def test_diff_says_what_another_dataset_has_more(made: Home) -> None:
    assert "hold the same problems" in rjepa("diff", "small", "small")
    recipe = load_recipe(made, "small").model_copy(update={"name": "larger", "seed": 5})
    write_json(made.registry / "datasets" / "larger.yaml", recipe_yaml(recipe))
    build(made, recipe)
    text = rjepa("diff", "small", "larger")
    assert "problems added: 8" in text and "by split: test 2, train 6" in text and "chains removed" in text
    assert json.loads(rjepa("diff", "small", "larger", "--json"))["problems_removed"]["total"] == 8


def test_import_registers_a_file_and_says_what_to_type_next(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"statement": "a?", "answer": "1"}\n')
    assert "--dataset mine" in rjepa("import", str(path), "--name", "mine", "--split", "test")
    assert load_recipe(home, "mine").source == "imported"
    found = json.loads(rjepa("import", str(path), "--name", "mine", "--split", "test", "--json"))
    assert found["splits"] == {"train": 0, "validation": 0, "test": 1}
    assert "licence" in found["warnings"][0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["stats", "nope"], NotFoundError, "no dataset 'nope'"),
        (["show", "v1.0.0"], NotFoundError, "no problems.parquet yet"),
        (["verify", "v1.0.0"], NotFoundError, "not released"),
        (["show", "small", "--split", "dev"], InvalidInputError, "no split"),
        (["import", "/nowhere.jsonl", "--name", "x"], NotFoundError, "not a file"),
    ],
)
def test_what_is_not_there_is_refused_with_a_cure(
    home: Home, arguments: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        rjepa(*arguments)
    assert caught.value.cure  # type: ignore[attr-defined]


def test_thirty_imported_problems_are_all_tests_and_training_on_them_has_to_be_asked_for(
    home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(f'{{"statement": "{n}?", "answer": "1", "licence": "MIT"}}\n' for n in range(30)))
    text = rjepa("import", str(path), "--name", "mine")
    assert "imported 30 problems as mine (train 0, validation 0, test 30)" in text
    assert "next: rjepa eval --llm tiny-a --dataset mine" in text
    found = json.loads(rjepa("import", str(path), "--name", "split", "--split", "by-hash", "--json"))
    assert found["splits"]["train"] > 15
    assert "next: rjepa backfill" in rjepa("import", str(path), "--name", "learn", "--split", "train")


def test_few_tests_are_warned_of(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"statement": "a?", "answer": "1"}\n')
    result = CliRunner().invoke(APP, ["data", "import", str(path), "--name", "mine"], catch_exceptions=False)
    assert "only 1 test problem(s)" in result.stderr


def test_remove_asks_first_and_says_what_went(made: Home) -> None:
    with pytest.raises(InvalidInputError, match="has to be confirmed") as caught:
        rjepa("remove", "small")
    assert caught.value.cure == "add --yes"
    assert "removed small" in rjepa("remove", "small", "--yes")
    assert "small" not in [row["dataset"] for row in json.loads(rjepa("list", "--json"))]
    with pytest.raises(NotFoundError):
        rjepa("remove", "small", "--yes")
