"""`rjepa lora` on small LoRAs, and the asset on the demo's home in processes of its own."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rjepa.errors import NotFoundError
from rjepa.home import Home
from rjepa.students.catalog import find_record
from rjepa.students.lora.files import read_lora
from rjepa_assets.cli.lora import register
from rjepa_assets.defs.partitions import LLM
from rjepa_assets.instance import open_instance
from tests.assets.running import rjepa
from tests.students.loras import put_lora, write_peft
from tests.students.tiny import record, write_student


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("RJEPA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))  # restored when the test ends
    return Home((tmp_path / "home").resolve())


def ran(*arguments: str) -> str:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, ["lora", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def partitions(home: Home) -> set[str]:
    with open_instance(home) as instance:
        return set(instance.get_dynamic_partitions(LLM))


def test_loras_are_listed_shown_taken_in_and_out(home: Home, tmp_path: Path) -> None:
    model = write_student(tmp_path / "model")
    put_lora(home, record(model), "one", tmp_path / "one")
    write_peft(model, tmp_path / "two", seed=2)
    added = json.loads(ran("add", "two", "--llm", "tiny-test", "--from", str(tmp_path / "two"), "--json"))
    assert added["llm_tag"] == "tiny-test--two"
    assert partitions(home) == {"tiny-test--two"}
    assert [row["lora"] for row in json.loads(ran("list", "--json"))] == ["tiny-test+one", "tiny-test+two"]
    assert "not judged" in ran("list")
    by_name, by_tag = (json.loads(ran("show", name, "--json")) for name in ("tiny-test+two", "tiny-test--two"))
    assert by_name == by_tag == added
    ran("merge", "tiny-test+two", "--out", str(tmp_path / "merged"))
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    ran("remove", "tiny-test+two")
    assert find_record(home, "tiny-test--two") is None
    assert partitions(home) == set()
    with pytest.raises(NotFoundError, match="known: one"):
        ran("show", "tiny-test+two")


@pytest.mark.slow
def test_training_is_an_asset_that_registers_a_student_and_is_not_done_twice(demo_copy: Home) -> None:
    arguments = ("lora", "train", "--llm", "tiny-a", "--dataset", "smoke", "--recipe", "smoke", "--name", "try")
    first, second = (rjepa(demo_copy.root, *arguments) for _ in range(2))
    assert (first.code, first.fates["student_lora"]) == (0, "done"), first.stderr
    assert (second.code, second.fates["student_lora"]) == (0, "is up to date"), second.stderr
    lora = read_lora(demo_copy.root / "loras" / "tiny-a" / "try")
    assert lora.manifest.figures["learnt"] == "code logic math"
    tuned = find_record(demo_copy, "tiny-a--try")
    assert tuned is not None
    assert "tiny-a--try" in partitions(demo_copy)
    assert [path.name for path in (demo_copy.root / "loras" / "tiny-a").iterdir()] == ["try"]
    assert "rjepa lora gate tiny-a--try --dataset smoke" in first.stdout
