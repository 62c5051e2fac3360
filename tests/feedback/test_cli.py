"""`rjepa feedback`: what an operator sees, decides, deletes and traces."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from rjepa.cli.main import build_app
from rjepa.database import Database
from rjepa.datasets.parts import MANIFEST
from rjepa.datasets.versions import create_version
from rjepa.feedback import interactions
from rjepa.feedback.evidence import gather
from rjepa.feedback.records import Owner
from rjepa.feedback.selection import select
from rjepa.feedback.snapshot import write_snapshot
from rjepa.feedback.tickets import hash_user, home_secret
from rjepa.feedback.votes import give_vote
from rjepa.home import Home
from rjepa.living.tracing import SeenBy, trace
from rjepa.releases.pointer import rollback
from rjepa.students.lora.files import CONFIG, WEIGHTS, LoraManifest, lora_folder, seal_lora
from rjepa.students.lora.recipe import LoraRecipe
from tests.datasets.growing import first_version, make
from tests.serving.fakes import publish

from .answers import given
from .test_snapshot import NEW, approve

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def _at_home(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RJEPA_HOME", str(home.root))


def run(*arguments: str, code: int = 0, typed: str = "") -> str:
    result = RUNNER.invoke(build_app(), ["feedback", *arguments], input=typed)
    assert result.exit_code == code, result.output + str(result.exception)
    return result.stdout


def test_the_queue_is_worked_through_and_decisions_show(home: Home, sqlite: Database) -> None:
    first = approve(sqlite, NEW, p=0.5)
    second = approve(sqlite, "How many shells are 3 shells and 4 shells?", p=0.5)
    assert {row["reason"] for row in json.loads(run("list", "--json"))} == {"improbable"}
    assert NEW in run("review", typed="a\nr\n")
    decided = {row["id"]: row["reason"] for row in json.loads(run("list", "--json"))}
    assert decided == {first.interaction_id: "reviewer_accepted", second.interaction_id: "reviewer_rejected"}
    run("review", first.interaction_id, "--reject")
    assert json.loads(run("stats", "--json"))["reason_reviewer_rejected"] == 2
    assert "reviewed" in run("audit", first.interaction_id) and NEW not in run("audit")
    assert run("list", "--outcome", "accepted") == ""


def test_what_is_not_clear_is_refused(sqlite: Database) -> None:
    for arguments in (("review", "x"), ("review", "--accept"), ("review", "x", "--accept", "--skip"), ("delete",)):
        run(*arguments, code=1)


def train_lora(home: Home, name: str, dataset: str) -> None:
    """The folder of a LoRA that was trained on a version."""
    source = home.root / "peft"
    source.mkdir(exist_ok=True)
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["q_proj"]}
    (source / CONFIG).write_text(json.dumps(config))
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    sides = {"A": np.ones((1, 8), np.float32), "B": np.ones((8, 1), np.float32)}
    save_file({f"{layer}.lora_{side}.weight": value for side, value in sides.items()}, source / WEIGHTS)
    manifest = LoraManifest(
        name=name,
        base="tiny-a",
        base_fingerprint="0" * 64,
        base_model="tiny",
        origin="trained",
        dataset=dataset,
        recipe=LoraRecipe(name="night").model_dump(mode="json"),
        files={},
    )
    seal_lora(source, lora_folder(home, "tiny-a", name), manifest)


def test_an_owner_s_words_are_exported_and_deleted(home: Home, sqlite: Database) -> None:
    alice = Owner("key:aaaaaaaaaaaa", hash_user(home_secret(sqlite), "alice"))
    for owner in (alice, Owner("key:bbbbbbbbbbbb")):
        answer = given(NEW, owner)
        interactions.keep(sqlite, answer)
        give_vote(sqlite, answer, "up")
    mine = run("export", "--client", "key:aaaaaaaaaaaa", "--user", "alice")
    assert [json.loads(line)["vote"] for line in mine.splitlines()] == ["up"]
    assert [json.loads(line)["vote"] for line in run("export").splitlines()] == ["up", "up"]
    assert run("delete", "--client", "key:aaaaaaaaaaaa", "--user", "alice", "--yes") == "deleted 1 interaction(s)\n"
    run("delete", "--client", "key:bbbbbbbbbbbb", code=1, typed="n\n")
    assert [json.loads(line)["content"] is None for line in run("export").splitlines()] == [True, False]


def test_a_workspace_is_excluded(sqlite: Database) -> None:
    run("workspace", "lab", "--exclude", "--add", "key:aaaaaaaaaaaa")
    approve(sqlite, NEW)
    assert [row["reason"] for row in json.loads(run("list", "--json"))] == ["workspace_excluded"]


def test_an_interaction_is_traced_to_all_that_saw_it_and_to_the_last_release_that_did_not(
    home: Home, sqlite: Database
) -> None:
    first_version(home)
    clean = publish(home, 1, dataset="v0.1.0")
    answer = approve(sqlite, NEW)
    name = write_snapshot(home, select(gather(home, sqlite, "v0.1.0")), "v0.1.0").name
    assert run("trace", answer.interaction_id).split() == ["data", "set", name]
    create_version(home, "v0.2.0", parent="v0.1.0", adds=[str(name)])
    make(home, "v0.2.0")
    saw = publish(home, 2, dataset="v0.2.0", init_from=clean)
    went_on = publish(home, 3, dataset="v0.1.0", init_from=saw)

    found = trace(home, answer.interaction_id)
    assert found.snapshots == (name,) and list(found.versions) == ["v0.2.0"]
    assert found.releases == (SeenBy("tiny-a", saw), SeenBy("tiny-a", went_on, served=True)), (
        "what went on from it, too"
    )
    assert SeenBy("tiny-a", "v0.2.0") in found.checkpoints
    assert found.clean == {"tiny-a": clean}
    assert trace(home, "chatcmpl-other").releases == ()

    for lora, dataset in (("night-1", "v0.2.0"), ("before", "v0.1.0")):
        train_lora(home, lora, dataset)
    assert trace(home, answer.interaction_id).loras == (SeenBy("tiny-a", "night-1"),)
    assert "tiny-a night-1  rjepa lora remove tiny-a+night-1" in run("trace", answer.interaction_id)

    told = json.loads(run("forget", answer.interaction_id, "--yes", "--json"))
    assert told["deleted"] and told["last_clean"] == {"tiny-a": clean}
    assert told["loras"] == [{"llm": "tiny-a", "lora": "night-1"}]
    gone = interactions.find(sqlite, answer.interaction_id)
    assert gone is not None and gone.content is None
    assert f"tiny-a {went_on}  served now" in run("trace", answer.interaction_id)
    rollback(home, "tiny-a", clean, reason="test")
    assert not trace(home, answer.interaction_id).is_served
    assert (home.dataset("v0.2.0") / MANIFEST).exists(), "versions are immutable: removing one is an operator's act"
    run("forget", "chatcmpl-other", "--yes", code=1)
