"""`rjepa llm` with a real Dagster instance: catalogue, any folder, what does not fit, the history of what is gone."""

import json
from pathlib import Path

import dagster as dg
import pytest
import typer
from typer.testing import CliRunner, Result

from rjepa.errors import InvalidInputError, NotFoundError, RjepaError
from rjepa.home import Home
from rjepa.students.catalog import load_record
from rjepa.students.devices import DeviceMemory
from rjepa_assets.cli.llm import register
from rjepa_assets.defs.partitions import LLM
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.students import student
from rjepa_assets.instance import open_instance
from tests.students.architectures import write_model

pytestmark = pytest.mark.slow

GB = 10**9
STUDENT = dg.AssetKey("student")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("RJEPA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))  # restored when the test ends
    return Home((tmp_path / "home").resolve())


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without accelerator and 24 GB free, whatever this one is."""
    monkeypatch.setattr("rjepa.students.devices.present_devices", lambda: [DeviceMemory("cpu", 32 * GB, 24 * GB)])


def llm(*arguments: str) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, ["llm", *arguments])


def ran(*arguments: str) -> str:
    result = llm(*arguments)
    assert result.exception is None, result.exception
    return result.stdout


def refused(*arguments: str) -> RjepaError:
    error = llm(*arguments).exception
    assert isinstance(error, RjepaError), error
    return error


def materialise(home: Home, tag: str, instance: dg.DagsterInstance) -> None:
    resources = {"home": HomeResource(root=str(home.root)), "progress": ProgressResource()}
    assert dg.materialize([student], instance=instance, partition_key=tag, resources=resources).success


def test_the_catalogue_is_listed_with_the_memory_that_each_model_needs() -> None:
    lines = ran("list", "--catalog").splitlines()
    line = next(line for line in lines if line.startswith("qwen3-8b "))
    assert line.split() == ["qwen3-8b", "8.19B", "36", "4096", "40960", "19.2", "12.3", "8.9", "apache-2.0"]
    assert any("llama3.1-8b" in line and "gated" in line for line in lines)
    values = {model["name"]: model for model in json.loads(ran("list", "--catalog", "--json"))}
    assert values["qwen3-8b"]["memory_bytes"]["none"] == pytest.approx(19.2e9, rel=0.01)
    assert values["qwen3-8b-awq"]["memory_bytes"].keys() == {"awq"}


def test_a_model_of_the_catalogue_is_shown_with_what_fits_here(home: Home, machine: None) -> None:
    shown = json.loads(ran("show", "qwen3-14b", "--json"))
    assert shown["hub_id"] == "Qwen/Qwen3-14B"
    assert {row["quantisation"]: row["fits_on"] for row in shown["memory"]} == {
        "none": None,
        "bnb8": "cpu",
        "bnb4": "cpu",
        "awq": "cpu",
    }
    assert "32.8 GB   no" in ran("show", "qwen3-14b")


def test_a_model_of_the_catalogue_is_added_by_its_name(home: Home, machine: None) -> None:
    options = ["--layer", "-4", "--pooling", "mean", "--pooling", "last", "--thinking"]
    output = ran("add", "q", "--model", "qwen3-4b", *options)
    assert "rjepa backfill --llm q" in output
    record = load_record(home, "q")
    assert record.model == "Qwen/Qwen3-4B" and record.layer_idx == -4 and record.poolings == ("mean", "last")
    assert record.prompt.use_chat_template and record.prompt.thinking is True
    assert record.dtype == "bfloat16" and record.sampling.batch_size == 64
    with open_instance(home) as instance:
        assert "q" in instance.get_dynamic_partitions(LLM)
    shown = json.loads(ran("show", "q", "--json"))
    assert shown["llm_tag"] == "q" and shown["memory"][0]["fits_on"] == "cpu"


def test_how_a_model_is_quantised_comes_with_its_name(home: Home, machine: None) -> None:
    ran("add", "q", "--model", "qwen3-8b-awq")
    assert load_record(home, "q").quantisation == "awq"
    ran("add", "q4", "--model", "qwen3-14b", "--quantization", "bnb4")
    assert load_record(home, "q4").quantisation == "bnb4"


def test_a_gated_model_says_what_it_asks_for(home: Home, machine: None) -> None:
    assert "accept its conditions" in llm("add", "g", "--model", "gemma2-2b").stderr


def test_what_does_not_fit_is_refused_with_advice_and_added_when_forced(home: Home, machine: None) -> None:
    error = refused("add", "big", "--model", "qwen3-32b")
    assert isinstance(error, InvalidInputError) and "65.5 GB of weights" in error.problem
    assert "--model qwen3-8b" in error.cure and "--even-if-too-large" in error.cure
    with pytest.raises(NotFoundError):
        load_record(home, "big")
    ran("add", "big", "--model", "qwen3-32b", "--even-if-too-large")
    assert load_record(home, "big").model == "Qwen/Qwen3-32B"


def test_an_unknown_name_is_answered_with_near_ones(home: Home) -> None:
    assert "near it: " in refused("add", "x", "--model", "lama3.1-8b").problem
    assert "no student is called" in refused("show", "nobody").problem


def test_any_folder_is_added_and_its_asset_says_where_it_runs_and_why(home: Home, tmp_path: Path) -> None:
    ran("add", "mine", "--model", str(write_model(tmp_path / "model", "gpt_neox")), "--segmentation", "connectives")
    with open_instance(home) as instance:
        materialise(home, "mine", instance)
        made = instance.fetch_materializations(STUDENT, limit=1).records[0].asset_materialization
    assert made is not None
    shown = {name: value.value for name, value in made.metadata.items()}
    assert shown["architecture"] == "GPTNeoXForCausalLM" and shown["segmentation"] == "connectives"
    assert "needed" in str(shown["device_reason"]) and shown["memory_megabytes"] > 0


def test_the_history_of_a_removed_student_stays_readable(home: Home, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "mistral")
    ran("add", "gone", "--model", str(folder))
    with open_instance(home) as instance:
        materialise(home, "gone", instance)
    ran("remove", "gone")
    with open_instance(home) as instance:
        assert "gone" not in instance.get_dynamic_partitions(LLM)
        wanted = dg.AssetRecordsFilter(asset_key=STUDENT, asset_partitions=["gone"])
        record = instance.fetch_materializations(wanted, limit=10).records[0]
        assert record.asset_materialization is not None
        assert record.asset_materialization.metadata["path"].value == str(folder)
        assert instance.get_run_by_id(record.run_id).status == dg.DagsterRunStatus.SUCCESS
        assert instance.all_logs(record.run_id)
    ran("add", "gone", "--model", str(folder))
    with open_instance(home) as instance:
        assert "gone" in instance.get_dynamic_partitions(LLM)
        assert "gone" in instance.get_materialized_partitions(STUDENT)


def test_migrating_what_cannot_be_migrated_is_refused_before_any_run(home: Home) -> None:
    assert "is no strategy" in refused("migrate", "--to", "tiny-b", "--strategy", "copy").problem
    assert (
        "every training problem"
        in refused("migrate", "--to", "tiny-b", "--strategy", "retrain", "--share", "1").problem
    )
    assert "no recipe" in refused("migrate", "--to", "tiny-b", "--recipe", "demo").problem
    assert "share of 2" in refused("migrate", "--to", "tiny-b", "--share", "2").problem
    assert "v1.0.0" in refused("migrate", "--to", "tiny-b").problem, "no dataset is there yet, and none is made"
    assert not home.dagster.exists(), "nothing was launched"
