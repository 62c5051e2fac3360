"""Datasets from every kind of source, through all four stages."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rjepa.datasets.reading import load_chains, load_manifest, load_problems, verify_dataset
from rjepa.datasets.recipe import BenchmarkSource, DatasetRecipe, dataset_names, imported_file, load_recipe
from rjepa.datasets.registering import Import, import_benchmark, import_file
from rjepa.datasets.sources import source_pairs
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import write_json
from rjepa.home import Home
from rjepa.problems.benchmarks import BENCHMARKS
from rjepa.problems.columns import parse_map
from rjepa.problems.reasoning_gym import GymTask, score_answer
from rjepa.progress import silent
from tests.datasets.conftest import build

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
FIXTURES = Path(__file__).parent.parent / "problems" / "fixtures"
Write = Callable[..., Path]


def made(home: Home, recipe: DatasetRecipe) -> dict:
    """The manifest of a dataset made from a recipe that the registry holds."""
    path = home.registry / "datasets" / f"{recipe.name}.yaml"
    if not path.exists():
        write_json(path, recipe.model_dump(mode="json", exclude_defaults=True))
    build(home, recipe)
    verify_dataset(home, recipe.name)
    return load_manifest(home, recipe.name)


def gsm8k(home: Home, tmp_path: Path, name: str = "gsm") -> DatasetRecipe:
    rows = [
        {"question": f"Ann has {n} figs and eats 1. How many are left?", "answer": f"{n} - 1 = {n - 1}\n#### {n - 1}"}
        for n in range(1, 61)
    ]
    for split, part in (("train", rows[:50]), ("test", rows[50:])):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    files = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "test")}
    source = BenchmarkSource(name="gsm8k", files=files)
    return DatasetRecipe(name=name, source="benchmark", created=WHEN, benchmark=source)


def test_a_benchmark_becomes_a_dataset_whose_tests_have_no_chains(home: Home, tmp_path: Path) -> None:
    manifest = made(home, gsm8k(home, tmp_path))
    assert manifest["counts"]["by_split"]["test"] == 10
    assert manifest["licences"] == {"MIT": 60} and manifest["sources"] == {"benchmark:gsm8k": 60}
    assert manifest["chains"]["worked"] == {"total": 50, "valid": 50}
    held_out = {problem.problem_id for problem in load_problems(home, "gsm", "test")}
    assert held_out.isdisjoint(chain.problem_id for chain in load_chains(home, "gsm"))
    origin = load_problems(home, "gsm", "test")[0].meta["origin"]
    assert origin["file"] == "test.jsonl" and origin["split"] == "test" and len(origin["sha256"]) == 64


def test_a_benchmark_is_read_once_and_kept_as_it_was(home: Home, tmp_path: Path) -> None:
    recipe = gsm8k(home, tmp_path)
    first = source_pairs(home, recipe, silent)
    (tmp_path / "test.jsonl").unlink()
    assert source_pairs(home, recipe, silent) == first
    imported_file(home, "gsm").write_text("{}")
    with pytest.raises(CorruptError, match="changed"):
        source_pairs(home, recipe, silent)


def test_a_benchmark_that_changed_its_recipe_is_read_anew(home: Home, tmp_path: Path) -> None:
    recipe = gsm8k(home, tmp_path)
    assert len(source_pairs(home, recipe, silent)) == 60
    assert recipe.benchmark is not None
    fewer = recipe.model_copy(update={"benchmark": recipe.benchmark.model_copy(update={"limit": 5})})
    assert len(source_pairs(home, fewer, silent)) == 10


def test_rows_that_were_left_out_and_an_unknown_licence_are_warnings_of_the_manifest(
    home: Home, tmp_path: Path
) -> None:
    row = {"context": "All rowers swim.", "options": ["yes", "no"], "correct_option": 0}
    rows = [row | {"query": f"Does rower {n} swim?"} for n in range(150)] + [row]
    (tmp_path / "logiqa.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    source = BenchmarkSource(name="logiqa", files={"test": str(tmp_path / "logiqa.jsonl")})
    manifest = made(home, DatasetRecipe(name="lq", source="benchmark", created=WHEN, benchmark=source))
    assert manifest["licences"] == {"unknown": 150}
    assert any("the licence of 150 problem(s) is unknown" in warning for warning in manifest["warnings"])
    assert any("1 row(s) were left out, the first is row 151" in warning for warning in manifest["warnings"])


def test_a_file_that_is_not_the_benchmarks_is_refused_and_nothing_is_kept(home: Home, tmp_path: Path) -> None:
    source = BenchmarkSource(name="gsm8k", files={"test": str(FIXTURES / "mmlu.jsonl")})
    recipe = DatasetRecipe(name="gsm", source="benchmark", created=WHEN, benchmark=source)
    with pytest.raises(InvalidInputError, match="answer is a int"):
        source_pairs(home, recipe, silent)
    assert not imported_file(home, "gsm").exists()


def test_reasoning_gym_becomes_a_dataset_that_its_own_verifiers_can_judge(home: Home) -> None:
    sizes = {"chain_sum": 30, "gsm_symbolic": 20, "coin_flip": 9}
    tasks = [GymTask(task=task, size=size) for task, size in sizes.items()]
    manifest = made(home, DatasetRecipe(name="gym", source="reasoning_gym", created=WHEN, tasks=tasks))
    assert manifest["sources"] == {"reasoning_gym": manifest["counts"]["problems"]}
    assert set(manifest["counts"]["by_domain"]) == {"arithmetic", "probability"}
    assert manifest["chains"]["worked"]["total"] > 5
    for problem in load_problems(home, "gym"):
        assert score_answer(problem.meta, problem.answer_gold) == 1.0
        assert problem.meta["origin"]["package"].startswith("reasoning-gym ")


def test_an_imported_table_becomes_a_dataset_with_the_files_hash_in_every_problem(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("q,a\n" + "".join(f"What is {n} + 1?,{n + 1}\n" for n in range(40)))
    how = Import(columns=parse_map(["statement=q", "answer=a"]), licence="CC0-1.0")
    imported = import_file(home, path, "table", how)
    assert imported.problems == 40 and sum(imported.splits.values()) == 40 and imported.warnings == []
    manifest = made(home, imported.recipe)
    assert manifest["licences"] == {"CC0-1.0": 40}
    origins = {json.dumps(problem.meta["origin"], sort_keys=True) for problem in load_problems(home, "table")}
    assert len(origins) == 1 and "table.csv" in origins.pop()


def test_a_benchmark_file_is_imported_with_what_its_checker_needs(home: Home) -> None:
    source = BenchmarkSource(name="humaneval", files={"test": str(FIXTURES / "humaneval.jsonl")})
    imported = import_benchmark(home, source, "mine")
    assert imported.splits == {"train": 0, "validation": 0, "test": 2}
    problems = [problem for problem, _ in source_pairs(home, load_recipe(home, "mine"), silent)]
    assert [problem.meta["entry_point"] for problem in problems] == ["total_even", "mirrored"]
    assert all(problem.source == "benchmark:humaneval" and problem.licence == "MIT" for problem in problems)
    assert import_benchmark(home, source, "mine").recipe == imported.recipe


def test_every_benchmark_has_a_recipe_here(home: Home) -> None:
    assert set(BENCHMARKS) <= set(dataset_names(home))
    for name in BENCHMARKS:
        assert load_recipe(home, name).benchmark is not None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": "benchmark"}, "says which benchmark"),
        ({"source": "benchmark", "benchmark": {"name": "gsm9k"}}, "no benchmark 'gsm9k'"),
        ({"source": "benchmark", "benchmark": {"name": "gsm8k", "splits": ["dev"]}}, "no split 'dev'"),
        ({"source": "reasoning_gym"}, "lists its tasks"),
        ({"source": "reasoning_gym", "tasks": [{"task": "chain_sum", "size": 0}]}, "size"),
        ({"source": "curriculum", "counts": {"math": {"train": 1}}, "tasks": [{"task": "ab", "size": 1}]}, "lists its"),
    ],
)
def test_a_recipe_that_says_too_little_is_refused(home: Home, fields: dict, message: str) -> None:
    path = home.registry / "datasets" / "mine.yaml"
    write_json(path, {"name": "mine", "created": WHEN.isoformat(), **fields})
    with pytest.raises(InvalidInputError, match=message):
        load_recipe(home, "mine")


def test_a_file_of_a_benchmark_that_is_gone_is_named(home: Home) -> None:
    source = BenchmarkSource(name="gsm8k", files={"test": "/nowhere/test.jsonl"})
    with pytest.raises(NotFoundError, match="/nowhere/test.jsonl is not a file"):
        import_benchmark(home, source, "mine")
