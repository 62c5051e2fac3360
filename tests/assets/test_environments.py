"""Stages of a student that has its own environment, through Dagster Pipes: real processes in a lean environment."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from rjepa.home import Home
from rjepa.latents.freezing import build_rollouts
from rjepa.latents.worker import MODULE
from rjepa.schemas import Problem
from rjepa.students.catalog import save_record
from rjepa.students.environments import find_interpreter
from rjepa.students.stage import open_student
from rjepa.tables import write_records
from rjepa_assets.definitions import build_defs
from rjepa_assets.defs.partitions import DATASET, LLM, partition_key
from rjepa_assets.defs.resources import HomeResource
from rjepa_assets.instance import open_instance
from tests.latents.conftest import DATASET as SUMS
from tests.latents.conftest import sums, write_sums
from tests.students.environments import empty_environment, lean_environment, runs
from tests.students.tiny import record, write_student

from .running import rjepa

pytestmark = pytest.mark.slow

TAG = "tiny-test"


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lean_environment(tmp_path_factory.mktemp("lean") / "venv")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_student(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    write_sums(home)
    return home


@pytest.fixture
def instance(home: Home) -> Iterator[dg.DagsterInstance]:
    with open_instance(home) as instance:
        instance.add_dynamic_partitions(DATASET, [SUMS])
        instance.add_dynamic_partitions(LLM, [TAG])
        yield instance


def materialise(home: Home, instance: dg.DagsterInstance, asset: str, **config: object) -> dg.ExecuteInProcessResult:
    defs = build_defs({"home": HomeResource(root=str(home.root))})
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        partition_key=partition_key(SUMS, TAG),
        asset_selection=[dg.AssetKey(asset)],
        run_config={"ops": {asset: {"config": config}}} if config else None,
    )


def made(result: dg.ExecuteInProcessResult, asset: str) -> dg.AssetMaterialization:
    return next(one for one in result.asset_materializations_for_node(asset))


def version(materialisation: dg.AssetMaterialization) -> str:
    return (materialisation.tags or {})["dagster/data_version"]


def test_a_stage_gives_the_same_in_an_environment_as_in_process_and_tells_of_its_progress(
    home: Home, instance: dg.DagsterInstance, lean: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rjepa_assets.defs.resources.LINE_SECONDS", 0.0)
    save_record(home, record(weights))
    here = made(materialise(home, instance, "latents"), "latents")
    home.shards("latents", TAG).rename(home.root / "elsewhere")
    save_record(home, record(weights, environment=str(lean)))
    result = materialise(home, instance, "latents")
    there = made(result, "latents")
    assert version(there) == version(here)
    figures = {name: value.value for name, value in there.metadata.items() if name != "tokens_per_second"}
    assert figures == {name: value.value for name, value in here.metadata.items() if name != "tokens_per_second"}
    assert figures["chains_found"] == 0 < figures["chains_encoded"]
    lines = [event.message for event in instance.all_logs(result.run_id)]
    chains = figures["chains"]
    assert any(line.startswith(f"{chains}/{chains} ") or line == f"{chains}/{chains}" for line in lines), lines
    assert any(str(find_interpreter(str(lean))) in line for line in lines)


def failure(error: pytest.ExceptionInfo[dg.Failure]) -> str:
    return error.value.description or ""


def test_a_missing_package_is_told_with_its_cure(
    home: Home, instance: dg.DagsterInstance, weights: Path, tmp_path: Path
) -> None:
    bare = empty_environment(tmp_path / "bare")
    save_record(home, record(weights, environment=str(bare)))
    with pytest.raises(dg.Failure) as failed:
        materialise(home, instance, "latents")
    assert "lacks dagster-pipes" in failure(failed) and "torch" in failure(failed)
    assert f"{bare}/bin/python -m pip install -r" in failure(failed)


def test_what_a_user_can_mend_comes_back_from_the_environment_in_the_stages_own_words(
    home: Home, instance: dg.DagsterInstance, lean: Path, tmp_path: Path
) -> None:
    save_record(home, record(tmp_path / "gone", environment=str(lean)))
    with pytest.raises(dg.Failure) as failed:
        materialise(home, instance, "latents")
    assert f"{tmp_path}/gone of tiny-test does not exist" in failure(failed)
    assert "give an existing folder" in failure(failed)


def kill_after_a_shard(folder: Path) -> None:
    """Kill the worker once it has finished a shard."""
    workers: list[psutil.Process] = []
    for _ in range(6000):
        if not workers:
            children = psutil.Process().children(recursive=True)
            workers = [one for one in children if runs(one, MODULE)]
        elif any(folder.rglob("*.json")):
            workers[0].kill()
            return
        time.sleep(0.01)


def test_a_killed_worker_is_reported_and_the_next_run_goes_on_from_its_shards(
    home: Home, instance: dg.DagsterInstance, weights: Path, lean: Path
) -> None:
    problems = [problem for problem in sums()[0] if problem.split == "test"] * 25
    many = [
        p.model_copy(update={"problem_id": f"{p.problem_id}-{n}", "statement": f"{p.statement} {n}."})
        for n, p in enumerate(problems)
    ]
    write_records(home.dataset(SUMS) / "problems.parquet", Problem, many)
    save_record(home, record(weights, environment=str(lean)))
    killer = threading.Thread(target=kill_after_a_shard, args=(home.shards("rollouts", TAG),))
    killer.start()
    with pytest.raises(dg.Failure) as failed:
        materialise(home, instance, "rollouts", num_candidates=2, seed=3)
    killer.join()
    assert "was killed (SIGKILL; the system does so when memory runs out)" in failure(failed)
    assert "run it again" in failure(failed)
    again = made(materialise(home, instance, "rollouts", num_candidates=2, seed=3), "rollouts")
    assert again.metadata["chains_found"].value > 0 < again.metadata["chains_sampled"].value
    home.shards("rollouts", TAG).rename(home.root / "elsewhere")
    whole = build_rollouts(home, open_student(home, TAG), SUMS, num_candidates=2, seed=3)
    assert version(again) == whole.data_version


def test_the_command_line_refuses_an_environment_that_lacks_something_and_registers_nothing(tmp_path: Path) -> None:
    bare = empty_environment(tmp_path / "bare")
    refused = rjepa(tmp_path / "home", "llm", "add", "mine", "--model", "bundled:tiny-a", "--environment", str(bare))
    assert refused.code == 1 and "torch" in refused.stderr and "pip install -r" in refused.stderr
    assert not (tmp_path / "home" / "registry").exists()
    refused = rjepa(tmp_path / "home", "llm", "quantize", "tiny-a", "--out", str(tmp_path / "o"), "--method", "gguf")
    assert refused.code == 1 and "--method awq" in refused.stderr
