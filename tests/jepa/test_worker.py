"""The stage with several processes: `processes: 2` gives a finished, diagnosed model, variants train side by side, and
failures are reports."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.jepa.checkpoint import MODEL_FILE
from rjepa.jepa.launching import train_side_by_side
from rjepa.jepa.stage import (
    build_checkpoint,
    build_normalizer,
    model_folder,
    open_variant,
    read_diagnostics,
    variant_folder,
)
from rjepa.latents.sets import LatentSet, Prompts
from tests.jepa.synthetic import synthetic_set, write_shards

pytestmark = pytest.mark.slow

PARTITION = ("tiny", "v1.0.0")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    parts = synthetic_set(100, seed=1), synthetic_set(40, seed=2, split="validation")
    both = LatentSet(
        latents=np.concatenate([part.latents for part in parts]),
        offsets=np.concatenate([parts[0].offsets, parts[1].offsets[1:] + len(parts[0].latents)]),
        domains=np.concatenate([part.domains for part in parts]),
        domain_names=parts[0].domain_names,
        first_error=np.concatenate([part.first_error for part in parts]),
        problem_ids=[*parts[0].problem_ids, *parts[1].problem_ids],
        chain_ids=[*parts[0].chain_ids, *parts[1].chain_ids],
        splits=[*parts[0].splits, *parts[1].splits],
        prompts=Prompts.of(
            np.concatenate([part.prompts.sentences for part in parts]),
            np.concatenate([np.diff(part.prompts.offsets) for part in parts]),
        ),
        prompt_of=np.concatenate([parts[0].prompt_of, parts[1].prompt_of + len(parts[0].prompts)]),
    )
    write_shards(home, *PARTITION, both, shard_size=64)
    build_normalizer(home, *PARTITION)
    return home


def test_the_stage_trains_with_two_processes_and_records_their_model(home: Home) -> None:
    reports: list[tuple[int, int]] = []
    trained = build_checkpoint(
        home, *PARTITION, "smoke", lambda done, total, note="": reports.append((done, total)), processes=2
    )
    assert trained.report.metadata["updates"] == 60
    assert reports[-1] == (60, 60) and len(reports) > 2, "progress of the processes reaches the caller"
    assert read_diagnostics(home, *PARTITION).unmoved == 0
    again = build_checkpoint(home, *PARTITION, "smoke")
    assert again.report.data_version == trained.report.data_version, "a finished run is found, not repeated"


def test_a_run_reads_the_latents_that_there_are(home: Home) -> None:
    build_checkpoint(home, *PARTITION, "smoke", seed=3)
    config = open_variant(home, *PARTITION, "smoke", 3)[0].config
    assert config.poolings == ("mean",), "what the latents hold, and not what most students have"


def test_processes_that_fail_say_why(home: Home) -> None:
    shard = next(home.shards("latents", PARTITION[0]).rglob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InvalidInputError, match="is damaged"):
        build_checkpoint(home, *PARTITION, "smoke", processes=2)
    assert not (model_folder(home, *PARTITION) / MODEL_FILE).exists()


def test_variants_train_side_by_side_each_as_it_would_alone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two at once with a thread each: how sums are rounded depends on the number of threads.
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    reports: list[tuple[int, int]] = []
    runs = [("smoke", 0), ("smoke", 1), ("smoke", 2)]
    train_side_by_side(home, *PARTITION, runs, lambda done, total, note="": reports.append((done, total)))
    assert reports[-1] == (300, 300) and reports == sorted(reports)
    models = [load_file(variant_folder(home, *PARTITION, *run) / MODEL_FILE) for run in runs]
    assert not any(torch.equal(models[0][name], models[1][name]) for name in models[0] if name.endswith("mask_token"))
    shutil.rmtree(variant_folder(home, *PARTITION, "smoke", 1))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = build_checkpoint(home, *PARTITION, "smoke", seed=1)
    finally:
        torch.set_num_threads(threads)
    assert alone.report.metadata["updates"] == 60
    for name, tensor in load_file(variant_folder(home, *PARTITION, "smoke", 1) / MODEL_FILE).items():
        torch.testing.assert_close(tensor, models[1][name])


def test_a_variant_that_fails_is_named(home: Home) -> None:
    with pytest.raises(InvalidInputError, match="training nobody, seed 0, failed: .*nobody"):
        train_side_by_side(home, *PARTITION, [("smoke", 0), ("nobody", 0)])


@pytest.mark.parametrize("late", [0, 2])
def test_where_a_variant_fails_the_others_are_stopped(home: Home, monkeypatch: pytest.MonkeyPatch, late: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"
    commands = {"slow": ["-c", deaf], "broken": ["-c", "import time; time.sleep(1); raise SystemExit(3)"]}

    def worker(llm_tag: str, dataset: str, recipe: str, seed: int) -> list[str]:
        time.sleep(late if recipe == "slow" else 0)  # it may be started when the other has failed already
        return commands[recipe]

    monkeypatch.setattr("rjepa.jepa.launching._worker", worker)
    with pytest.raises(InvalidInputError, match="training broken, seed 0, failed"):
        train_side_by_side(home, *PARTITION, [("slow", 0), ("broken", 0)])
    alone = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    assert not [child for child in alone if deaf in child.cmdline()]


def test_the_worker_says_how_it_is_called() -> None:
    done = subprocess.run([sys.executable, "-m", "rjepa.jepa.worker", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "torchrun" in done.stdout and "--recipe" in done.stdout
