"""A dataset whose recipe names teachers: their chains join its own, are judged like them; the asset shows the cost."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from rjepa.datasets.building import build_problems, build_teacher_chains, validate_chains
from rjepa.datasets.reading import load_problems
from rjepa.datasets.recipe import DatasetRecipe, Teaching, recipe_yaml
from rjepa.files import write_json
from rjepa.home import Home
from rjepa.schemas import ChainOfThought
from rjepa.tables import read_records
from rjepa.teacher.errors import TeacherError
from rjepa.teacher.ledger import BudgetError

from .conftest import KEY
from .scripted import Answer, Request, chain

RECIPE = DatasetRecipe(
    name="taught",
    source="curriculum",
    created=datetime(2026, 1, 1, tzinfo=UTC),
    corrupted_share=0,
    counts={"math": {"train": 4, "validation": 2, "test": 3}},
    teaching=Teaching(teachers=["ada"], chains_per_problem=2),
)


@pytest.fixture
def server(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    server = serve(lambda asked: chain(answer="-1", steps=[f"way {asked.sample}"]))
    values = {"BASE_URL": server.url, "MODEL": "large", "API_KEY": KEY, "MAX_RETRIES": "0"}
    values |= {"USD_PER_MTOK_IN": "1", "USD_PER_MTOK_OUT": "1"}
    for name, value in values.items():
        monkeypatch.setenv(f"TEACHER_ADA_{name}", value)
    return server


def materialize(home: Home) -> tuple[dg.ExecuteInProcessResult, str]:
    """Make the dataset's chains; the result, and everything that Dagster has written down of the run."""
    from rjepa_assets.defs.chains import teacher_chains
    from rjepa_assets.defs.partitions import DATASET
    from rjepa_assets.defs.problems import problems
    from rjepa_assets.defs.resources import HomeResource, ProgressResource

    write_json(home.registry / "datasets" / "taught.yaml", recipe_yaml(RECIPE))  # JSON is YAML too
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(DATASET, ["taught"])
        resources = {"home": HomeResource(root=str(home.root)), "progress": ProgressResource()}
        done = dg.materialize(
            [problems, teacher_chains],
            instance=instance,
            partition_key="taught",
            resources=resources,
            raise_on_error=False,
        )
        run = instance.get_run_by_id(done.run_id)
        return done, "".join(map(str, [run, *instance.all_logs(done.run_id)]))


def test_the_asset_has_the_chains_of_its_teachers_and_shows_what_they_cost(server: Any, home: Home) -> None:
    done, written = materialize(home)
    assert done.success and KEY not in written
    (made,) = done.asset_materializations_for_node("teacher_chains")
    shown = {name: value.value for name, value in made.metadata.items()}
    assert (shown["chains"], shown["teacher_chains"], shown["teacher_calls_paid"]) == (6 + 12, 12, 12)
    assert 0 < shown["teacher_usd"] < shown["teacher_budget_usd"] == 5.0
    asked = " ".join(one.prompt for one in server.asked)
    assert all(problem.statement not in asked for problem in load_problems(home, "taught", "test"))
    report = validate_chains(home, RECIPE)
    assert report.metadata["valid"] == 6, "the teacher is wrong throughout, and said so by the validator alone"
    chains = read_records(home.dataset("taught") / "teacher_chains.parquet", ChainOfThought)
    assert all(one.is_valid is None for one in chains)


def test_a_dataset_whose_budget_ran_out_is_not_made_and_goes_on_later(
    server: Any, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_problems(home, RECIPE)
    monkeypatch.setenv("TEACHER_MAX_BUDGET_PER_JOB", "0.004")
    with pytest.raises(BudgetError):
        build_teacher_chains(home, RECIPE)
    assert not (home.dataset("taught") / "teacher_chains.parquet").exists()
    paid = len(server.asked)
    monkeypatch.setenv("TEACHER_MAX_BUDGET_PER_JOB", "1")
    first = build_teacher_chains(home, RECIPE)
    assert 0 < paid < len(server.asked) == 12
    assert build_teacher_chains(home, RECIPE) == first and len(server.asked) == 12


def test_a_dataset_with_unanswered_calls_is_not_made(server: Any, home: Home) -> None:
    def down(asked: Request) -> Answer:
        return Answer("{}", 503) if asked.sample else chain()

    server.script = down
    build_problems(home, RECIPE)
    with pytest.raises(TeacherError, match="http_503"):
        build_teacher_chains(home, RECIPE)


def test_a_run_that_fails_by_a_teacher_that_repeats_the_key_is_written_down_without_it(server: Any, home: Home) -> None:
    server.script = lambda asked: Answer(f'{{"error": "no such key: {asked.headers["authorization"]}"}}', 401)
    done, written = materialize(home)
    assert not done.success and "http_401" in written and KEY not in written


def test_a_recipe_without_teachers_keeps_the_hash_it_had_before_there_were_any() -> None:
    plain = RECIPE.model_copy(update={"teaching": None})
    assert "teaching" not in recipe_yaml(plain)
    assert plain.hash() != RECIPE.hash()
    described = {name: value for name, value in recipe_yaml(plain).items()}
    assert DatasetRecipe.model_validate(described).hash() == plain.hash()
