"""Several processes, started by the real torchrun: the same curve and the same weights as one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rjepa.files import read_json
from rjepa.jepa.checkpoint import MODEL_FILE, TRAINING_FILE, load_model
from rjepa.jepa.distributed import Processes
from rjepa.jepa.runs import REPORT_FILE
from tests.jepa import train_together
from tests.jepa.train_together import run

pytestmark = pytest.mark.slow

SOUND = ("pure", "rank", "types", "textbook")
ROOT = Path(__file__).resolve().parents[2]


def torchrun(processes: int, folder: Path, *cases: str, stop_at: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*command, "-m", train_together.__name__, str(folder), str(stop_at), *cases],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def assert_same_run(left: Path, right: Path) -> None:
    reports: list[dict[str, Any]] = [read_json(folder / REPORT_FILE) for folder in (left, right)]
    for curve in ("curve", "validation"):
        points = [report[curve] for report in reports]
        assert len(points[0]) == len(points[1]) > 0
        for one, other in zip(*points, strict=True):
            assert one.keys() == other.keys()
            for name in one:
                assert one[name] == pytest.approx(other[name], rel=1e-4, abs=1e-5), name
    weights = [load_model(folder).state_dict() for folder in (left, right)]
    for name, tensor in weights[0].items():
        other = weights[1][name]
        if name.endswith("keys_values.bias"):
            # A bias of the keys changes no attention: its gradient is rounding, which AdamW scales to full steps.
            half = len(tensor) // 2
            tensor, other = tensor[half:], other[half:]
        assert torch.allclose(tensor, other, rtol=1e-3, atol=2e-4), (name, (tensor - other).abs().max())


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case, trained by two processes; one start of torchrun for all."""
    folder = tmp_path_factory.mktemp("two")
    done = torchrun(2, folder, *SOUND, "muon")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("case", SOUND)
def test_two_processes_train_what_one_does(case: str, by_two: Path, tmp_path: Path) -> None:
    run(tmp_path, case)
    assert_same_run(tmp_path, by_two / case)


def test_under_muon_two_processes_have_the_losses_of_one(by_two: Path, tmp_path: Path) -> None:
    run(tmp_path, "muon")
    curves = [read_json(folder / REPORT_FILE)["curve"] for folder in (tmp_path, by_two / "muon")]
    for one, other in zip(*curves, strict=True):
        assert {name: one[name] for name in ("total", "raw", "latent")} == pytest.approx(
            {name: other[name] for name in ("total", "raw", "latent")}, rel=5e-3
        )


def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    run(tmp_path / "one", "rank")
    stopped = torchrun(3, tmp_path, "rank", stop_at=7)
    assert stopped.returncode != 0 and not (tmp_path / "rank" / MODEL_FILE).exists()
    assert (tmp_path / "rank" / TRAINING_FILE).exists(), "its last checkpoint is that of update 5"
    run(tmp_path / "rank", "rank")
    assert_same_run(tmp_path / "one", tmp_path / "rank")


def test_processes_that_read_other_data_are_refused(tmp_path: Path) -> None:
    done = torchrun(2, tmp_path, "differ")
    assert done.returncode != 0
    assert "do not start from the same data" in done.stderr
    assert not (tmp_path / "differ" / MODEL_FILE).exists()


@pytest.mark.parametrize(("rows", "size"), [(7, 3), (2, 3), (0, 2), (8, 2)])
def test_the_slices_of_all_processes_are_the_batch(rows: int, size: int) -> None:
    slices = [Processes(rank, size).share(rows) for rank in range(size)]
    assert [row for each in slices for row in range(rows)[each]] == list(range(rows))
    lengths = [each.stop - each.start for each in slices]
    assert max(lengths) - min(lengths) <= 1
