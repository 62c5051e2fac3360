"""The hub through the real `datasets` library, on a local folder of data files: no network is used."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rjepa.datasets.recipe import BenchmarkSource
from rjepa.datasets.snapshots import benchmark_intake
from rjepa.errors import NotFoundError
from rjepa.problems.lines import WorkedProblem
from rjepa.progress import silent

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "hub"
    folder.mkdir()
    for split, count in (("train", 30), ("test", 5)):
        rows = [{"question": f"{split}: what is {n} + 1?", "answer": f"{n} + 1\n#### {n + 1}"} for n in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def pairs(source: BenchmarkSource) -> list[WorkedProblem]:
    intake = benchmark_intake(source, WHEN, silent)
    found = list(intake.pairs())
    intake.finish()
    return found


def test_rows_of_every_split_come_through_datasets_with_their_origin(hub: Path) -> None:
    found = pairs(BenchmarkSource(name="gsm8k", hub_id=str(hub), subsets=["default"]))
    by_split = {split: sum(problem.split == split for problem, _ in found) for split in ("train", "validation", "test")}
    assert by_split["test"] == 5 and by_split["train"] + by_split["validation"] == 30
    origin = found[-1][0].meta["origin"]
    assert origin == {"folder": str(hub), "subset": "default", "split": "test", "row": 5}


def test_splits_and_rows_can_be_limited(hub: Path) -> None:
    found = pairs(BenchmarkSource(name="gsm8k", hub_id=str(hub), subsets=["default"], splits=["test"], limit=2))
    assert [problem.answer_gold for problem, _ in found] == ["1", "2"]


def test_a_subset_that_is_not_there_is_refused_with_what_is(hub: Path) -> None:
    with pytest.raises(NotFoundError, match="nope.*default"):
        pairs(BenchmarkSource(name="gsm8k", hub_id=str(hub), subsets=["nope"]))


@pytest.mark.parametrize("missing", [False, True])
def test_without_a_network_or_without_the_extra_the_cure_is_to_bring_the_file(tmp_path: Path, missing: bool) -> None:
    program = (
        "import sys\n"
        f"sys.modules.update({{'datasets': None}} if {missing} else {{}})\n"
        "from rjepa.problems.benchmarks.hub import hub_rows\n"
        "from rjepa.errors import NotFoundError\n"
        "try:\n    hub_rows('openai/gsm8k', None, 'main', 'test')\n"
        "except NotFoundError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=environment, check=True
    )
    assert "openai/gsm8k" in done.stdout and "rjepa data import FILE --benchmark" in done.stdout
    assert ("pip install -e '.[hub]'" in done.stdout) == missing
