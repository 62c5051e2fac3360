"""The release stage on a real evaluated: a tiny student, its frozen candidates, an R-JEPA, records on the disk."""

import json
import random
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from rjepa.datasets.building import build_dataset
from rjepa.errors import CorruptError
from rjepa.evaluation.records import EvaluationRecord, list_records
from rjepa.evaluation.stage import build_report, calibration_file
from rjepa.files import write_json
from rjepa.home import Home
from rjepa.jepa.diagnostics import Diagnostics
from rjepa.jepa.probes import Probe
from rjepa.jepa.stage import DIAGNOSTICS_FILE, model_folder, normalizer_file
from rjepa.latents.freezing import build_rollouts
from rjepa.parts import MODEL_FILES
from rjepa.releases.bundle import list_releases, load_manifest
from rjepa.releases.history import history
from rjepa.releases.pointer import require_current
from rjepa.releases.stage import NotEligibleError, build_release
from rjepa.students.loading import Student
from tests.datasets.importing import import_dataset
from tests.tiny_release import TAG, addition, publish, register_student, taught_folder

pytestmark = pytest.mark.slow

DATASET = "sums"


class Evaluated:
    """A student and a data set of up to 20 sums, whose candidates and R-JEPA a test changes."""

    def __init__(self, root: Path, student: Student) -> None:
        self.root = root
        self.home = Home(root / "home")
        self.student = student

    def make_dataset(self, name: str = DATASET, *, sums: int = 200, seed: int = 5) -> None:
        """Draw sums, import the different ones among them as test problems, and release the data set."""
        rng = random.Random(seed)
        statements = {statement: answer for statement, _, answer in (addition(rng) for _ in range(sums))}
        lines = [json.dumps({"statement": s, "answer": a, "domain": "sums"}) for s, a in statements.items()]
        file = self.root / f"{name}.jsonl"
        file.write_text("\n".join(lines) + "\n")
        recipe = import_dataset(self.home, file, name, "test")
        build_dataset(self.home, recipe)

    def sample(self, num_candidates: int) -> None:
        build_rollouts(self.home, self.student, DATASET, num_candidates=num_candidates, seed=0, splits=("test",))

    def train(self, seed: int) -> None:
        """Put an R-JEPA of initial weights where a training would have left it."""
        folder = self.root / f"trained-{seed}"
        publish(Home(self.root / "elsewhere"), self.student, folder, seed)
        model = model_folder(self.home, TAG, DATASET)
        model.mkdir(parents=True, exist_ok=True)
        for name in MODEL_FILES:
            shutil.copy(folder / name, model / name)
        shutil.copy(folder / "normalizer.safetensors", normalizer_file(self.home, TAG, DATASET))
        shutil.copy(folder / "calibration.json", calibration_file(self.home, TAG, DATASET))
        probe = Probe(accuracy=0.9, untrained=0.5, chance=0.3)
        found = Diagnostics(
            steps=100, loss=0.5, loss_of_mean=1.0, loss_of_copy=1.0, loss_of_ridge=0.6, rankme=12.0,
            rankme_of_latents=14.0, deviation=0.9, encoder_width=16, leak=0.0, target_has_gradient=False, unmoved=0,
            domain_probe=probe, step_probe=probe,
        )  # fmt: skip
        write_json(model / DIAGNOSTICS_FILE, {"diagnostics": asdict(found)})

    def evaluate(self) -> None:
        build_report(self.home, TAG, DATASET)

    def records(self, release_id: str) -> list[EvaluationRecord]:
        return list_records(self.home, TAG, load_manifest(self.home, TAG, release_id).content_hash)


@pytest.fixture(scope="module")
def evaluated_once(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    root = tmp_path_factory.mktemp("evaluated")
    evaluated = Evaluated(root, register_student(Home(root / "home"), taught_folder(tmp_path_factory)))
    evaluated.make_dataset()
    evaluated.sample(4)
    evaluated.train(0)
    evaluated.evaluate()
    return evaluated


@pytest.fixture
def evaluated(evaluated_once: Evaluated, tmp_path: Path) -> Evaluated:
    shutil.copytree(evaluated_once.home.root, tmp_path / "home")
    return Evaluated(tmp_path, evaluated_once.student)


def test_a_challenger_is_compared_on_the_same_candidates_after_they_were_sampled_anew(evaluated: Evaluated) -> None:
    """Sampled again with more candidates, the served release is measured on them too: its old record says nothing."""
    assert build_release(evaluated.home, TAG, DATASET).report.metadata["reason"] == "first_release"
    first = require_current(evaluated.home, TAG)
    assert [record.candidates.num_candidates for record in evaluated.records(first)] == [4]

    evaluated.sample(8)
    evaluated.train(1)
    with pytest.raises(NotEligibleError, match="candidates"):
        build_release(evaluated.home, TAG, DATASET)
    evaluated.evaluate()
    metadata = build_release(evaluated.home, TAG, DATASET).report.metadata

    old, new = evaluated.records(first)
    assert (old.candidates.num_candidates, new.candidates.num_candidates) == (4, 8)
    assert metadata["candidates"] == new.candidates.sha256
    decision = history(evaluated.home, TAG)[-1].decision
    assert decision is not None and decision.candidates == new.candidates.sha256
    assert decision.findings[0].current_accuracy == new.accuracy
    assert decision.findings[0].challenger_accuracy == metadata["accuracy"]
    assert metadata["gate_all_difference"] == pytest.approx(metadata["accuracy"] - new.accuracy)


def test_releasing_again_changes_nothing_and_judges_nothing_twice(evaluated: Evaluated) -> None:
    first = build_release(evaluated.home, TAG, DATASET)
    files = {path: path.stat().st_mtime_ns for path in evaluated.home.evaluations(TAG).rglob("*.json")}
    again = build_release(evaluated.home, TAG, DATASET)
    assert (
        again.report.data_version == first.report.data_version and again.report.metadata["reason"] == "already_current"
    )
    assert len(list_releases(evaluated.home, TAG)) == 1 and len(history(evaluated.home, TAG)) == 1
    assert files == {path: path.stat().st_mtime_ns for path in evaluated.home.evaluations(TAG).rglob("*.json")}


def test_a_record_that_is_gone_is_measured_again_and_says_the_same(evaluated: Evaluated) -> None:
    build_release(evaluated.home, TAG, DATASET)
    (before,) = evaluated.records(require_current(evaluated.home, TAG))
    shutil.rmtree(evaluated.home.evaluations(TAG))
    build_release(evaluated.home, TAG, DATASET)
    (after,) = evaluated.records(require_current(evaluated.home, TAG))
    assert after.sha256 == before.sha256 and np.array_equal(after.right, before.right)


def test_a_record_that_was_changed_afterwards_is_refused_with_a_cure(evaluated: Evaluated) -> None:
    (path,) = evaluated.home.evaluations(TAG).rglob("*.json")
    value = json.loads(path.read_text())
    value["served"] = "1" * len(value["served"])
    if value["served"] == json.loads(path.read_text())["served"]:
        value["served"] = "0" + value["served"][1:]
    path.write_text(json.dumps(value))
    with pytest.raises(CorruptError, match="changed after it was written") as error:
        build_release(evaluated.home, TAG, DATASET)
    assert "measured again" in error.value.cure
