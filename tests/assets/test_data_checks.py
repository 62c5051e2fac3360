"""Every check of the data finds its fault: planted in what a stage writes, seen on a real Dagster instance."""

import shutil
import uuid
from collections.abc import Callable, Iterator

import dagster as dg
import numpy as np
import pytest

from rjepa.datasets.reading import load_chains, load_problems
from rjepa.datasets.recipe import DatasetRecipe
from rjepa.datasets.versions import register_recipe
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.schemas import ChainOfThought, Problem
from rjepa.stages import Made, StageReport
from rjepa.students.catalog import StudentRecord, save_record
from rjepa.tables import write_records
from rjepa_assets.definitions import build_defs
from rjepa_assets.defs.partitions import DATASET, LLM
from rjepa_assets.defs.resources import HomeResource
from tests.datasets.growing import first_version
from tests.latents.rows import Prompted, write_latents

pytestmark = pytest.mark.slow

Run = Callable[[str], dg.ExecuteInProcessResult]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """v0.1.0, released and good; only what a test plants is written beside it."""
    home = Home(tmp_path_factory.mktemp("checked") / "home")
    recipe = first_version(home)
    register_recipe(home, recipe.model_copy(update={"name": "planted", "version": "0.1.0"}))
    return home


@pytest.fixture(autouse=True)
def clean(made: Home) -> Iterator[None]:
    yield
    shutil.rmtree(made.dataset("planted"), ignore_errors=True)
    shutil.rmtree(made.root / "dagster" / "receipts", ignore_errors=True)  # or the next test's stage finds all made


@pytest.fixture(scope="module")
def job(made: Home) -> dg.JobDefinition:
    return build_defs({"home": HomeResource(root=str(made.root))}).resolve_implicit_global_asset_job_def()


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        ephemeral.add_dynamic_partitions(DATASET, ["v0.1.0", "planted"])
        ephemeral.add_dynamic_partitions(LLM, ["tiny-x"])
        yield ephemeral


@pytest.fixture
def materialise(job: dg.JobDefinition, instance: dg.DagsterInstance) -> Run:
    def run(asset: str, partition: str = "planted") -> dg.ExecuteInProcessResult:
        key = f"{partition}|tiny-x" if asset == "latents" else partition
        return job.execute_in_process(
            instance=instance, partition_key=key, asset_selection=[dg.AssetKey(asset)], raise_on_error=False
        )

    return run


def failed(result: dg.ExecuteInProcessResult) -> set[str]:
    return {check.check_name for check in result.get_asset_check_evaluations() if not check.passed}


def plant(monkeypatch: pytest.MonkeyPatch, stage: str, home: Home, **files: list) -> None:
    """Let a stage write these records, whatever it would have made."""

    def write(*_: object) -> StageReport:
        for name, records in files.items():
            model = Problem if name == "problems" else ChainOfThought
            write_records(home.dataset("planted") / f"{name}.parquet", model, records)
        # Another content each time: a check that passed is not asked again of the same.
        return StageReport(uuid.uuid4().hex * 2)

    monkeypatch.setattr(f"rjepa.datasets.building.{stage}", write)


def problems_with(home: Home, fault: str) -> list[Problem]:
    good = load_problems(home, "v0.1.0")
    train = next(p for p in good if p.split == "train")
    test = next(p for p in good if p.split == "test")
    return {
        "a statement in two splits": [*good, train.model_copy(update={"problem_id": "x", "split": "test", "meta": {}})],
        "a structure in two splits": [
            *good,
            train.model_copy(update={"problem_id": "x", "split": "validation", "statement": "Other?"}),
        ],
        "an id twice": [*good, train.model_copy(update={"problem_id": test.problem_id, "statement": "?", "meta": {}})],
        "no gold answer": [*good, train.model_copy(update={"problem_id": "x", "statement": "?", "answer_gold": " "})],
        "no licence": [train.model_copy(update={"licence": "unknown"}), *good[1:]],
        "a test problem of v0.1.0": [test.model_copy(update={"split": "train", "meta": {}})],
        "nearly a test problem of v0.1.0": [
            test.model_copy(update={"split": "train", "meta": {}, "statement": test.statement.rstrip("?.") + " now?"})
        ],
    }[fault]


@pytest.mark.parametrize(
    ("fault", "check", "blocks"),
    [
        ("a statement in two splits", "splits_do_not_leak", True),
        ("a structure in two splits", "splits_do_not_leak", True),
        ("an id twice", "problem_ids_are_unique", True),
        ("no gold answer", "gold_answers_are_present", True),
        ("no licence", "licences_are_known", False),
        ("a test problem of v0.1.0", "no_test_of_another_dataset_is_trained_on", True),
        ("nearly a test problem of v0.1.0", "no_test_of_another_dataset_is_trained_on", False),
    ],
)
def test_a_fault_in_the_problems_is_found(
    made: Home, materialise: Run, monkeypatch: pytest.MonkeyPatch, fault: str, check: str, blocks: bool
) -> None:
    plant(monkeypatch, "build_problems", made, problems=problems_with(made, fault))
    result = materialise("problems")
    assert failed(result) == {check}
    assert result.success is not blocks


def test_good_data_passes_every_check(made: Home, job: dg.JobDefinition, instance: dg.DagsterInstance) -> None:
    names = ["problems", "teacher_chains", "validated_chains", "dataset_release"]
    result = job.execute_in_process(
        instance=instance, partition_key="v0.1.0", asset_selection=[dg.AssetKey(name) for name in names]
    )
    assert result.success and failed(result) == set()
    assert len(result.get_asset_check_evaluations()) == 8


def test_a_broken_dataset_fails_no_check_of_another(
    made: Home, materialise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, "build_problems", made, problems=load_problems(made, "v0.1.0", "train"))
    (made.dataset("broken")).mkdir(parents=True)
    (made.dataset("broken") / "problems.parquet").write_bytes(b"broken")
    try:
        result = materialise("problems")
        assert result.success and failed(result) == set()
        assert len(result.get_asset_check_evaluations()) == 5
        (check,) = [c for c in result.get_asset_check_evaluations() if c.check_name.startswith("no_test_of")]
        assert "broken" in str(check.metadata["not_compared_with"].value)
    finally:
        shutil.rmtree(made.dataset("broken"))


def chains_with(home: Home, fault: str) -> list[ChainOfThought]:
    good = load_chains(home, "v0.1.0")
    wrong = {"is_valid": False, "validation_reason": "wrong_answer"}
    test = load_problems(home, "v0.1.0", "test")[0]
    return {
        "too many wrong": [chain.model_copy(update=wrong) for chain in good[: len(good) // 2]] + good[len(good) // 2 :],
        "no verdict": [good[0].model_copy(update={"is_valid": None}), *good[1:]],
        "valid with a wrong step": [good[0].model_copy(update={"is_valid": True, "first_error_step": 0}), *good[1:]],
        "of a test problem": [good[0].model_copy(update={"problem_id": test.problem_id}), *good[1:]],
        "of no problem": [good[0].model_copy(update={"problem_id": "nobody"}), *good[1:]],
    }[fault]


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("too many wrong", "validation_rate_is_high"),
        ("no verdict", "every_chain_has_its_verdict"),
        ("valid with a wrong step", "every_chain_has_its_verdict"),
        ("of a test problem", "every_chain_has_its_verdict"),
        ("of no problem", "every_chain_has_its_verdict"),
    ],
)
def test_a_fault_in_the_verdicts_blocks(
    made: Home, materialise: Run, monkeypatch: pytest.MonkeyPatch, fault: str, check: str
) -> None:
    write_records(made.dataset("planted") / "problems.parquet", Problem, load_problems(made, "v0.1.0"))
    plant(monkeypatch, "validate_chains", made, validated_chains=chains_with(made, fault))
    result = materialise("validated_chains")
    assert not result.success and check in failed(result)


def test_the_floor_of_the_validation_rate_is_the_recipes(
    made: Home, materialise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = made.registry / "datasets" / "planted.yaml"
    before = known.read_bytes()
    recipe = DatasetRecipe.model_validate(_yaml(before) | {"validation_floor": 0.2})
    register_recipe(made, recipe)
    try:
        write_records(made.dataset("planted") / "problems.parquet", Problem, load_problems(made, "v0.1.0"))
        plant(monkeypatch, "validate_chains", made, validated_chains=chains_with(made, "too many wrong"))
        assert materialise("validated_chains").success
    finally:
        known.write_bytes(before)


def test_a_manifest_that_counts_wrong_is_found(made: Home, materialise: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    problems = load_problems(made, "v0.1.0")
    write_records(made.dataset("planted") / "problems.parquet", Problem, problems)
    write_records(made.dataset("planted") / "validated_chains.parquet", ChainOfThought, load_chains(made, "v0.1.0"))
    manifest = read_json(made.dataset("v0.1.0") / "manifest.json")
    manifest.pop("parts")
    manifest["licences"] = {"MIT": len(problems)}
    write_json(made.dataset("planted") / "manifest.json", manifest)
    monkeypatch.setattr("rjepa.datasets.building.release_dataset", lambda *_: StageReport("0" * 64))
    result = materialise("dataset_release")
    assert failed(result) == {"manifest_counts_what_is_there"} and not result.success


@pytest.mark.parametrize("wrong", [True, False])
def test_latents_that_pass_a_wrong_chain_off_as_a_target_block(
    made: Home, materialise: Run, monkeypatch: pytest.MonkeyPatch, wrong: bool
) -> None:
    splits = {problem.problem_id: problem for problem in load_problems(made, "v0.1.0")}
    chains = load_chains(made, "v0.1.0")
    chosen = [chain for chain in chains if chain.is_valid][:6] + [c for c in chains if not c.is_valid][:1]
    rng = np.random.default_rng(0)
    kept = [
        Prompted(
            chain.problem_id,
            chain.cot_id,
            rng.normal(size=(3, 4)).astype(np.float16),
            np.zeros((1, 4), np.float16),
            domain=splits[chain.problem_id].domain,
            split=splits[chain.problem_id].split or "train",
            first_error_segment=-1 if chain.is_valid or wrong else 1,
        )
        for chain in chosen
    ]

    def build(*_: object) -> Made:
        write_latents(made, "tiny-x", "v0.1.0", kept)
        return Made(StageReport(uuid.uuid4().hex * 2))

    save_record(made, StudentRecord(llm_tag="tiny-x", model="bundled:tiny-a"))
    monkeypatch.setattr("rjepa_assets.defs.latents.make_with_student", build)
    result = materialise("latents", "v0.1.0")
    assert ("wrong_chains_are_no_targets" in failed(result)) is wrong
    assert result.success is not wrong


def _yaml(text: bytes) -> dict:
    import yaml

    return yaml.safe_load(text)
