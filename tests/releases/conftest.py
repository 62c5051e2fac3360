"""Small real source files for releases."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from rjepa.evaluation.records import EvaluationRecord, find_record, write_record
from rjepa.files import write_json
from rjepa.home import Home
from rjepa.parts import PartSource, reranking_parts, verbalizer_part
from rjepa.releases.bundle import Diagnosis, Facts, Manifest, describe_content
from rjepa.releases.findings import Rule
from rjepa.releases.publish import ReleaseReport, release
from tests.records import SAME, make_record, outcomes


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


class Publisher:
    """Publishes releases whose content follows from one number."""

    def __init__(self, home: Home, folder: Path) -> None:
        self.home = home
        self.folder = folder
        self.accuracies: dict[str, float] = {}
        self.judged: list[str] = []
        """Releases that had to be judged anew."""

    def sources(self, seed: int, init_from: str | None = None, speaking: int | None = None) -> tuple[PartSource, ...]:
        folder = self.folder / f"sources-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": np.full((4, 4), seed, dtype=np.float32)}, folder / "model.safetensors")
        save_file({"location": np.zeros(4, dtype=np.float32)}, folder / "normalizer.safetensors")
        write_json(folder / "config.json", {"seed": seed} | ({"init_from": init_from} if init_from else {}))
        write_json(folder / "calibration.json", {"alpha": 1.0})
        parts = reranking_parts(folder, folder / "normalizer.safetensors", folder / "calibration.json")
        if speaking is None:
            return parts
        decoder = self.folder / f"decoder-{speaking}"
        decoder.mkdir(exist_ok=True)
        save_file({"weight": np.full((2, 2), speaking, dtype=np.float32)}, decoder / "model.safetensors")
        return (*parts, verbalizer_part(decoder))

    def facts(self, *, passed: bool = True, student: str = "s" * 64) -> Facts:
        return Facts("d" * 64, student, Diagnosis(passed=passed), "test", "run-1")

    def publish(
        self,
        seed: int,
        accuracy: float = 0.5,
        *,
        passed: bool = True,
        dataset: str = "v1.0.0",
        student: str = "s" * 64,
        rule: Rule = "replace",
        candidates: str = SAME,
        init_from: str | None = None,
        speaking: int | None = None,
        problems: int = 1000,
    ) -> ReleaseReport:
        """Release what is right on this share of the problems; the current release is judged on the same ones.

        speaking: which verbaliser it has; None for none.
        """
        sources, facts = self.sources(seed, init_from, speaking), self.facts(passed=passed, student=student)
        content = describe_content("tiny-a", dataset, sources, facts)
        record = make_record(content, outcomes(problems, accuracy), candidates=candidates, dataset=dataset)
        write_record(self.home, record)
        self.accuracies[content.sha256] = accuracy

        def judge(current: Manifest) -> EvaluationRecord:
            found = find_record(self.home, "tiny-a", current.content_hash, record.candidates)
            self.judged += [current.release_id] if found is None else []
            right = outcomes(problems, self.accuracies[current.content_hash])
            return found or make_record(current, right, candidates=candidates, dataset=dataset)

        return release(self.home, "tiny-a", dataset, sources, facts, challenger=record, judge=judge, rule=rule)


@pytest.fixture
def publisher(home: Home, tmp_path: Path) -> Publisher:
    return Publisher(home, tmp_path)
