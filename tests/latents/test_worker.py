"""A stage in a process of its own: what is made already is found without loading the student, and damage is seen."""

import subprocess
import sys
from pathlib import Path

import pytest

from rjepa.home import Home
from rjepa.latents.worker import StudentTask, run_task
from rjepa.schemas import ChainOfThought, Problem
from rjepa.students.catalog import save_record
from rjepa.students.loading import Student
from rjepa.tables import read_records, write_records
from tests.latents.conftest import DATASET
from tests.students.tiny import record

ROOT = Path(__file__).resolve().parents[2]
TAG = "tiny-test"

AGAIN = """
import sys
from pathlib import Path
from rjepa.home import Home
from rjepa.latents.worker import StudentTask, run_task
task = StudentTask(sys.argv[2], "tiny-test", "sums", num_candidates=2, max_problems=5)
print(run_task(Home(Path(sys.argv[1])), task).data_version)
print("torch" in sys.modules)
"""


@pytest.fixture
def known(home: Home, taught: Student) -> Home:
    save_record(home, record(taught.path))
    return home


@pytest.mark.parametrize("stage", ["latents", "rollouts", "train_rollouts"])
def test_a_stage_with_nothing_to_do_says_the_same_without_loading_torch(known: Home, stage: str) -> None:
    task = StudentTask(stage, TAG, DATASET, num_candidates=2, max_problems=5)  # type: ignore[arg-type]
    first = run_task(known, task)
    command = [sys.executable, "-c", AGAIN, str(known.root), stage]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == [first.data_version, "False"]
    again = run_task(known, task)
    new = "chains_encoded" if stage == "latents" else "chains_sampled"
    assert again.metadata[new] == 0 and again.metadata["chains_found"] == first.metadata[new] > 0
    assert again.metadata.keys() == first.metadata.keys()


def test_whoever_has_read_all_chains_has_read_any_share(known: Home) -> None:
    share = StudentTask("latents", TAG, DATASET, share=0.25)
    assert share.arguments()[-2:] == ["--share", "0.25"]
    part = run_task(known, share)
    assert run_task(known, share).metadata["chains_encoded"] == 0
    whole = run_task(known, StudentTask("latents", TAG, DATASET))
    assert whole.metadata["chains"] > part.metadata["chains"]
    assert run_task(known, share).data_version == whole.data_version
    assert not known.latent_share(TAG, DATASET).exists()


@pytest.mark.parametrize("stage", ["latents", "rollouts"])
def test_a_damaged_shard_or_table_is_made_again(known: Home, stage: str) -> None:
    task = StudentTask(stage, TAG, DATASET, num_candidates=2, max_problems=5)  # type: ignore[arg-type]
    first = run_task(known, task)
    for path in (next(known.shards(stage, TAG).rglob("*.safetensors")), next((known.root / stage).rglob("*.parquet"))):
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        again = run_task(known, task)
        assert again.data_version == first.data_version
    assert run_task(known, task).metadata["chains_found"] > 0


def test_changed_data_or_another_request_is_something_to_do(known: Home) -> None:
    task = StudentTask("rollouts", TAG, DATASET, num_candidates=2, max_problems=5)
    first = run_task(known, task)
    other = run_task(known, StudentTask("rollouts", TAG, DATASET, num_candidates=3, max_problems=5))
    assert other.metadata["chains_sampled"] == 5 and other.data_version != first.data_version
    assert run_task(known, task).data_version == first.data_version
    path = known.dataset(DATASET) / "problems.parquet"
    problems = read_records(path, Problem)
    write_records(path, Problem, [p.model_copy(update={"answer_gold": "1"}) for p in problems])
    assert run_task(known, task).metadata["chains_judged"] > 0
    latents = run_task(known, StudentTask("latents", TAG, DATASET))
    chains = read_records(known.dataset(DATASET) / "validated_chains.parquet", ChainOfThought)
    write_records(known.dataset(DATASET) / "validated_chains.parquet", ChainOfThought, chains[:-2])
    assert run_task(known, StudentTask("latents", TAG, DATASET)).data_version != latents.data_version
