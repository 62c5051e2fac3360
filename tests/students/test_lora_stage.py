"""From a dataset version to a registered student: what is new and old, found again, killed and gone on with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rjepa.datasets.building import build_dataset
from rjepa.datasets.recipe import DatasetRecipe
from rjepa.datasets.versions import create_version, register_recipe
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.evaluation.stage import checkpoint_sources
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.latents.worker import StudentTask, run_task
from rjepa.parts import describe_parts
from rjepa.releases.student_gate import judge_student, read_verdict
from rjepa.students.catalog import load_record, save_record
from rjepa.students.loading import load_student, resolve_student
from rjepa.students.lora.checking import judge_losses
from rjepa.students.lora.files import open_lora
from rjepa.students.lora.recipe import EwcConfig, LoraRecipe, OptimConfig
from rjepa.students.lora.stage import train_registered
from tests.students.tiny import record

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
COUNTS = {"train": 12, "validation": 4, "test": 4}
RECIPE = LoraRecipe(
    name="test",
    ranks=(2, 3),
    optim=OptimConfig(max_tokens=2048, updates=4, batch_size=4, learning_rate=0.01, checkpoint_every=2),
    validation_chains=4,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, qwen_folder: Path) -> Home:
    """Maths in v0.1.0, code besides in v0.2.0, and a student."""
    home = Home(tmp_path_factory.mktemp("lora-stage") / "home")
    for name, domain in (("v0.1.0", "math"), ("more", "code")):
        recipe = DatasetRecipe(name=name, source="curriculum", created=CREATED, counts={domain: COUNTS})
        register_recipe(home, recipe)
        build_dataset(home, recipe)
    build_dataset(home, create_version(home, "v0.2.0", parent="v0.1.0", adds=["more"]))
    # Problems of the curriculum are longer than what other tests want of a context.
    model = Path(shutil.copytree(qwen_folder, home.root / "model"))
    write_json(model / "config.json", {**read_json(model / "config.json"), "max_position_embeddings": 2048})
    save_record(home, record(model))
    return home


def test_what_a_version_has_and_its_parent_has_not_is_learnt(home: Home) -> None:
    report = train_registered(home, "tiny-test", "v0.2.0", RECIPE, "night-1")
    figures = report.metadata
    assert figures["learnt"] == "code"
    assert (figures["new_chains"], figures["old_chains"]) == (12, 12)
    assert figures["rank"] in (2, 3)
    tuned = load_record(home, "tiny-test--night-1")
    resolved = resolve_student(home, tuned)
    assert resolved.fingerprint == report.data_version
    assert resolved.fingerprint != resolve_student(home, load_record(home, "tiny-test")).fingerprint
    assert load_student(resolved, device="cpu").record.lora == tuned.lora
    manifest = open_lora(home, "tiny-test", "night-1").manifest
    assert (manifest.base, manifest.dataset, manifest.origin) == ("tiny-test", "v0.2.0", "trained")
    assert judge_losses(figures).figures.keys() == {"change_new", "change_old"}


def test_the_same_training_is_found_again_and_another_one_is_not(home: Home) -> None:
    seen: list[str] = []

    def tell(done: int, total: int, note: str = "") -> None:
        seen.append(note)

    def train(recipe: LoraRecipe, dataset: str = "v0.2.0") -> str:
        return train_registered(home, "tiny-test", dataset, recipe, "again", tell).data_version

    first = train(RECIPE)
    updates = len(seen)
    assert updates == 8
    assert train(RECIPE.model_copy(update={"name": "renamed"})) == first
    assert len(seen) == updates
    assert train(RECIPE.model_copy(update={"seed": 1})) != first
    assert len(seen) == 2 * updates
    assert train(RECIPE, "v0.1.0") != first


def test_ewc_without_old_chains_is_refused(home: Home) -> None:
    recipe = RECIPE.model_copy(update={"ewc": EwcConfig(weight=1.0)})
    with pytest.raises(InvalidInputError, match="EWC needs old chains"):
        train_registered(home, "tiny-test", "v0.1.0", recipe, "held")


def test_a_student_with_a_lora_does_not_learn_another_upon_it(home: Home) -> None:
    train_registered(home, "tiny-test", "v0.2.0", RECIPE, "night-1")
    with pytest.raises(InvalidInputError, match="train on tiny-test"):
        train_registered(home, "tiny-test--night-1", "v0.2.0", RECIPE, "night-2")


def test_the_gate_judges_both_students_on_the_same_problems_and_keeps_its_verdict(home: Home) -> None:
    train_registered(home, "tiny-test", "v0.2.0", RECIPE, "night-1")
    with pytest.raises(NotFoundError):
        judge_student(home, "tiny-test--night-1", "v0.2.0")
    assert read_verdict(home, "tiny-test", "night-1") is None
    for tag in ("tiny-test", "tiny-test--night-1"):
        run_task(home, StudentTask("rollouts", tag, "v0.2.0", num_candidates=2, seed=0))
    decision = judge_student(home, "tiny-test--night-1", "v0.2.0")
    assert decision.claims == ("code",)
    assert not decision.passed
    assert {one.domain: one.problems for one in decision.findings} == {"all": 8, "code": 4, "math": 4}
    assert decision.fingerprint != decision.base_fingerprint
    assert read_verdict(home, "tiny-test", "night-1") == decision


def test_a_release_of_a_student_with_a_lora_holds_the_lora(home: Home) -> None:
    train_registered(home, "tiny-test", "v0.2.0", RECIPE, "night-1")
    tags = ("tiny-test", "tiny-test--night-1")
    for tag in tags:
        for name in ("normalizer.safetensors", "rjepa/model.safetensors"):
            path = home.models(tag, "v0.2.0") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    parts = {tag: checkpoint_sources(home, tag, "v0.2.0") for tag in tags}
    added = {part.name for part in parts["tiny-test--night-1"]} - {part.name for part in parts["tiny-test"]}
    assert added == {"student_lora"}
    (lora,) = describe_parts([part for part in parts["tiny-test--night-1"] if part.name == "student_lora"])
    assert lora.files["lora/adapter_model.safetensors"].size > 0


_TRAIN = """
import json, sys
from pathlib import Path
from rjepa.home import Home
from rjepa.students.lora.recipe import LoraRecipe
from rjepa.students.lora.stage import train_registered
recipe = LoraRecipe.model_validate(json.loads(Path(sys.argv[2]).read_text()))
train_registered(Home(Path(sys.argv[1])), "tiny-test", "v0.2.0", recipe, "killed")
"""


@pytest.mark.slow
def test_a_training_that_was_killed_leaves_nothing_half_made_and_goes_on_to_the_same_bytes(
    home: Home, tmp_path: Path
) -> None:
    optim = RECIPE.optim.model_copy(update={"updates": 48, "checkpoint_every": 4})
    recipe = RECIPE.model_copy(update={"ranks": (2,), "optim": optim})
    write_json(tmp_path / "recipe.json", json.loads(recipe.model_dump_json()))
    arguments = [sys.executable, "-c", _TRAIN, str(home.root), str(tmp_path / "recipe.json")]
    process = subprocess.Popen(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"})
    folder = home.root / "loras" / "tiny-test"
    try:
        while not list(folder.glob(".killed-*/rank-2/checkpoint/progress.json")):
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (folder / "killed").exists()
    seen: list[int] = []
    train_registered(home, "tiny-test", "v0.2.0", recipe, "killed", lambda done, *_: seen.append(done))
    assert 4 < seen[0] <= 48
    whole = train_registered(home, "tiny-test", "v0.2.0", recipe, "whole")
    killed = open_lora(home, "tiny-test", "killed")
    assert killed.sha256 == open_lora(home, "tiny-test", "whole").sha256
    assert resolve_student(home, load_record(home, "tiny-test--killed")).fingerprint == whole.data_version
    assert not list(folder.glob(".killed-*"))


@pytest.mark.parametrize(
    ("new", "old", "passed"), [(0.5, 1.2, True), (0.5, 1.3, False), (1.1, 1.0, False), (0.5, None, True)]
)
def test_the_check_asks_for_a_gain_and_against_forgetting(new: float, old: float | None, passed: bool) -> None:
    figures = {"loss_new": new, "loss_new_base": 1.0}
    assert judge_losses(figures | ({} if old is None else {"loss_old": old, "loss_old_base": 1.0})).passed == passed
