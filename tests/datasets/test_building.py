import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rjepa.datasets import sources
from rjepa.datasets.building import (
    PROBLEMS,
    build_problems,
    build_teacher_chains,
    release_dataset,
    validate_chains,
)
from rjepa.datasets.reading import load_chains, load_manifest, load_problems, verify_dataset
from rjepa.datasets.recipe import DatasetRecipe, recipe_yaml
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.schemas import Problem
from rjepa.tables import write_records
from tests.datasets.conftest import build
from tests.datasets.importing import import_dataset


def modified(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def test_four_stages_make_a_dataset_that_verifies(home: Home, recipe: DatasetRecipe) -> None:
    reports = build(home, recipe)
    assert [len(report.data_version) for report in reports] == [64] * 4
    verified = verify_dataset(home, "small")
    assert verified.problems == 3 * 20
    chains = load_chains(home, "small")
    gold = [chain for chain in chains if "corruption" not in chain.meta]
    assert len(gold) == 3 * 16
    assert all(chain.is_valid for chain in gold)
    assert 0 < len(chains) - len(gold) < len(gold)
    assert load_chains(home, "small", only_valid=True) == [chain for chain in chains if chain.is_valid]


def test_wrong_chains_are_kept_with_reason_and_first_wrong_step_and_are_no_targets(
    home: Home, recipe: DatasetRecipe
) -> None:
    build(home, recipe)
    wrong = [chain for chain in load_chains(home, "small") if not chain.is_valid]
    assert wrong
    for chain in wrong:
        assert chain.validation_reason not in ("ok", "not_validated")
        assert chain.first_error_step is not None
    assert not {chain.cot_id for chain in wrong} & {c.cot_id for c in load_chains(home, "small", only_valid=True)}


def test_test_problems_have_no_chains(home: Home, recipe: DatasetRecipe) -> None:
    build(home, recipe)
    held_out = {problem.problem_id for problem in load_problems(home, "small", "test")}
    assert held_out.isdisjoint(chain.problem_id for chain in load_chains(home, "small"))


def test_the_share_of_corrupted_chains_is_the_recipes(home: Home, recipe: DatasetRecipe) -> None:
    for share, expected in ((0.0, 0), (1.0, 3 * 16)):
        other = recipe.model_copy(update={"corrupted_share": share, "name": f"share-{share:.0f}"})
        build_problems(home, other)
        assert build_teacher_chains(home, other).metadata["corrupted"] == expected


def test_problems_can_be_had_by_split_and_limit_over_all_domains(home: Home, recipe: DatasetRecipe) -> None:
    build_problems(home, recipe)
    chosen = load_problems(home, "small", "test", limit=6)
    assert [problem.split for problem in chosen] == ["test"] * 6
    assert {problem.domain for problem in chosen} == {"math", "code", "logic"}
    assert load_problems(home, "small", limit=0) == []
    with pytest.raises(ValueError, match="limit"):
        load_problems(home, "small", limit=-1)


def test_the_same_recipe_gives_the_same_bytes_in_another_home(
    home: Home, recipe: DatasetRecipe, tmp_path: Path
) -> None:
    other = Home(tmp_path / "other")
    assert build(home, recipe) == build(other, recipe)
    assert contents(home.dataset("small")) == contents(other.dataset("small"))


def test_running_again_rewrites_nothing(home: Home, recipe: DatasetRecipe) -> None:
    first = [stage(home, recipe) for stage in (build_problems, build_teacher_chains, validate_chains)]
    before = modified(home.dataset("small"))
    assert [stage(home, recipe) for stage in (build_problems, build_teacher_chains, validate_chains)] == first
    assert modified(home.dataset("small")) == before
    release_dataset(home, recipe)
    before = modified(home.dataset("small"))
    build(home, recipe)
    assert modified(home.dataset("small")) == before


def test_a_released_dataset_is_not_generated_again(
    home: Home, recipe: DatasetRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = build(home, recipe)
    monkeypatch.setattr(sources, "_curriculum", None)
    assert build(home, recipe) == reports


@pytest.mark.parametrize("stage", [build_problems, build_teacher_chains, validate_chains, release_dataset])
def test_a_changed_recipe_under_a_released_name_is_refused(home: Home, recipe: DatasetRecipe, stage: object) -> None:
    build(home, recipe)
    before = modified(home.dataset("small"))
    with pytest.raises(InvalidInputError, match="never changes") as caught:
        stage(home, recipe.model_copy(update={"seed": 9}))  # type: ignore[operator]
    assert "bump the version" in caught.value.cure
    assert modified(home.dataset("small")) == before


def test_a_recipe_may_change_until_the_release(home: Home, recipe: DatasetRecipe) -> None:
    first = build_problems(home, recipe)
    changed = recipe.model_copy(update={"seed": 9})
    with pytest.raises(CorruptError, match="another recipe"):
        build_teacher_chains(home, changed)
    assert build_problems(home, changed) != first
    build_teacher_chains(home, changed)
    validate_chains(home, changed)
    release_dataset(home, changed)
    verify_dataset(home, "small")


def test_a_damaged_file_of_a_released_dataset_comes_back_as_it_was(home: Home, recipe: DatasetRecipe) -> None:
    build(home, recipe)
    folder = home.dataset("small")
    whole = contents(folder)
    (folder / "problems.parquet").write_bytes(b"broken")
    (folder / "teacher_chains.parquet").unlink()
    with pytest.raises(CorruptError, match=r"problems.parquet has hash .* teacher_chains.parquet is missing"):
        verify_dataset(home, "small")
    build(home, recipe)
    assert contents(folder) == whole
    verify_dataset(home, "small")


def test_a_released_file_is_never_replaced_by_other_content(
    home: Home, recipe: DatasetRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(home, recipe)
    path = home.dataset("small") / "problems.parquet"
    path.unlink()
    genuine = sources._curriculum
    monkeypatch.setattr(sources, "_curriculum", lambda *given: list(genuine(*given))[1:])
    with pytest.raises(CorruptError, match="makes other records"):
        build_problems(home, recipe)
    assert not path.exists()


def test_a_count_or_content_that_was_tampered_with_is_found(home: Home, recipe: DatasetRecipe) -> None:
    build(home, recipe)
    path = home.dataset("small") / "manifest.json"
    manifest = read_json(path)
    write_json(path, manifest | {"counts": manifest["counts"] | {"problems": 7}})
    with pytest.raises(CorruptError, match="60 problems, expected 7"):
        verify_dataset(home, "small")


def test_a_stage_before_its_time_says_what_is_missing(home: Home, recipe: DatasetRecipe) -> None:
    for stage in (build_teacher_chains, validate_chains, release_dataset):
        with pytest.raises(NotFoundError, match="does not exist"):
            stage(home, recipe)


def test_a_file_and_a_report_that_do_not_belong_together_are_not_released(home: Home, recipe: DatasetRecipe) -> None:
    for stage in (build_problems, build_teacher_chains, validate_chains):
        stage(home, recipe)
    path = home.dataset("small") / PROBLEMS.file
    write_records(path, Problem, load_problems(home, "small")[:-1])
    with pytest.raises(CorruptError, match="does not match its report"):
        release_dataset(home, recipe)


def test_a_leak_between_splits_is_refused(home: Home, recipe: DatasetRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = sources._curriculum

    def leaking(*given: object) -> list:
        pairs = list(genuine(*given))  # type: ignore[arg-type]
        problem, chain = next(pair for pair in pairs if pair[0].split == "train")
        pairs.append((problem.model_copy(update={"split": "test", "statement": "new", "problem_id": "new"}), chain))
        return pairs

    monkeypatch.setattr(sources, "_curriculum", leaking)
    with pytest.raises(CorruptError, match="the same structure in test"):
        build_problems(home, recipe)
    assert not (home.dataset("small") / PROBLEMS.file).exists()


def test_duplicates_are_removed_and_counted(home: Home, recipe: DatasetRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = sources._curriculum
    monkeypatch.setattr(sources, "_curriculum", lambda *given: [*genuine(*given), *list(genuine(*given))[:5]])
    build(home, recipe)
    manifest = load_manifest(home, "small")
    assert (manifest["duplicates_removed"], manifest["counts"]["problems"]) == (5, 60)


def test_the_manifest_tells_where_a_dataset_comes_from(home: Home, recipe: DatasetRecipe) -> None:
    build(home, recipe)
    manifest = load_manifest(home, "small")
    assert manifest["date"] and manifest["version"] == "1.0.0" and manifest["parent"] is None
    assert manifest["counts"]["by_domain_and_split"]["logic"] == {"train": 12, "validation": 4, "test": 4}
    assert sum(manifest["counts"]["by_difficulty"].values()) == 60
    assert (manifest["sources"], manifest["licences"]) == ({"curriculum": 60}, {"Apache-2.0": 60})
    assert manifest["validation_rate"] == 1.0
    assert set(manifest["files"]) == {f"{name}.parquet" for name in ("problems", "teacher_chains", "validated_chains")}
    assert "structure" in manifest["split_rule"]


def test_gsm_symbolic_goes_the_same_path_and_its_wrong_solutions_are_shown(home: Home, recipe: DatasetRecipe) -> None:
    counts = {"gsm_symbolic": {"train": 300, "validation": 20, "test": 20}}
    gsm = recipe.model_copy(update={"source": "gsm_symbolic", "counts": counts})
    build(home, gsm)
    manifest = load_manifest(home, "small")
    assert 0.95 < manifest["validation_rate"] < 1
    assert manifest["chains"]["worked_reasons"]["wrong_arithmetic"] > 0
    assert "worked solutions are wrong" in manifest["warnings"][0]
    assert "share the templates" in manifest["split_rule"]


def test_an_import_of_test_problems_alone_goes_the_same_path(home: Home, problem_file: object) -> None:
    rows = [{"statement": f"What is {n} + 1?", "answer": n + 1} for n in range(4)]
    recipe = import_dataset(home, problem_file(rows), "homework", "test")  # type: ignore[operator]
    build(home, recipe)
    verify_dataset(home, "homework")
    manifest = load_manifest(home, "homework")
    assert (manifest["validation_rate"], manifest["chains"]["total"]) == (None, 0)
    assert any("licence" in warning for warning in manifest["warnings"])
    assert "there are no train problems" in manifest["warnings"]


def test_wrong_steps_of_an_import_become_negatives(home: Home, problem_file: object) -> None:
    rows = [
        {"statement": "a?", "answer": 7, "steps": ["3 + 4 = 7"], "split": "train", "licence": "MIT"},
        {"statement": "b?", "answer": 9, "steps": ["3 + 4 = 8", "8 + 1 = 9"], "split": "train", "licence": "MIT"},
    ]
    build(home, import_dataset(home, problem_file(rows), "homework"))  # type: ignore[operator]
    verdicts = {chain.final_answer: chain for chain in load_chains(home, "homework")}
    assert verdicts["7"].is_valid
    assert (verdicts["9"].is_valid, verdicts["9"].first_error_step) == (False, 0)
    assert load_manifest(home, "homework")["licences"] == {"MIT": 2}


_BUILD = """
import sys
from pathlib import Path
from rjepa.datasets.building import build_problems, build_teacher_chains, release_dataset, validate_chains
from rjepa.datasets.recipe import load_recipe
from rjepa.home import Home
home = Home(Path(sys.argv[1]))
recipe = load_recipe(home, "small")
print("ready", flush=True)
for stage in (build_problems, build_teacher_chains, validate_chains, release_dataset):
    stage(home, recipe)
    print(stage.__name__, flush=True)
"""


@pytest.mark.parametrize("moment", ["ready", "build_problems", "build_teacher_chains", "validate_chains"])
def test_a_killed_build_leaves_nothing_half_written_and_finishes_when_run_again(
    home: Home, recipe: DatasetRecipe, tmp_path: Path, moment: str
) -> None:
    write_json(home.registry / "datasets" / "small.yaml", recipe_yaml(recipe))  # JSON is YAML too
    process = subprocess.Popen(
        [sys.executable, "-c", _BUILD, str(home.root)], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    with process.stdout:
        assert any(line.strip() == moment for line in process.stdout), "the build ended before its time"
        time.sleep(0.02)  # into the next stage
        process.send_signal(signal.SIGKILL)
        process.wait()
    expected = Home(tmp_path / "whole")
    whole, again = build(expected, recipe), build(home, recipe)
    assert whole == again
    assert contents(home.dataset("small")) == contents(expected.dataset("small"))
    assert not list(home.dataset("small").glob(".*"))
    verify_dataset(home, "small")
