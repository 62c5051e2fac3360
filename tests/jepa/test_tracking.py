"""W&B, for real: offline it writes a folder, a resumed run keeps its id, and what goes wrong stops no training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rjepa.jepa.checkpoint import MODEL_FILE
from rjepa.jepa.tracking import TRACKING_FILE, Tracker, Tracking, run_id
from tests.jepa.synthetic import tiny_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KEY = "0123456789abcdef" * 2 + "deadbeef"
PROGRAM = """
import logging, os, sys
from pathlib import Path
logging.basicConfig(level=logging.INFO)
from rjepa.jepa.tracking import Tracking
from rjepa.jepa.trainer import train
from rjepa.latents.normalizer import fit_normalizer
from tests.jepa.synthetic import synthetic_set, tiny_config
data, held_out = synthetic_set(60, seed=1), synthetic_set(20, seed=2, split="validation")
stop_at = int(sys.argv[2])
def watch(done, total, note=""):
    if done == stop_at:
        os._exit(9)
tracking = Tracking(os.environ, {"dataset": "v1.0.0", "latents": "5eed"})
train(tiny_config(), data, held_out, fit_normalizer(data), Path(sys.argv[1]), watch, tracking=tracking)
print("wandb imported:", "wandb" in sys.modules)
"""


def run(folder: Path, stop_at: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(stop_at)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=ROOT,
        env={**clean, "OMP_NUM_THREADS": "1", **variables},
    )


def test_without_being_asked_nothing_is_tracked_nor_imported(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "wandb imported: False" in done.stdout
    assert not (tmp_path / "wandb").exists() and not (tmp_path / TRACKING_FILE).exists()


def test_offline_a_killed_and_resumed_run_is_one_run_with_its_curves_and_config(tmp_path: Path) -> None:
    assert run(tmp_path, 7, WANDB_MODE="offline").returncode == 9
    done = run(tmp_path, WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    name = json.loads((tmp_path / TRACKING_FILE).read_text())["run_id"]
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert folders and all(folder.name.endswith(name) for folder in folders), folders
    written = b"".join(path.read_bytes() for folder in folders for path in folder.glob("*.wandb"))
    for word in (b"train/total", b"validation/energy", b"v1.0.0", b"5eed", b"learning_rate", name.encode()):
        assert word in written, word
    assert done.stdout.strip() == "wandb imported: True", "answers alone go to stdout"


def test_a_service_that_cannot_be_reached_stops_no_training_and_no_log_holds_the_key(tmp_path: Path) -> None:
    done = run(tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_INIT_TIMEOUT="2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / MODEL_FILE).exists()
    assert "goes on without it" in done.stderr
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert KEY not in done.stdout + done.stderr
    assert not any(KEY.encode() in content for content in files)


def test_a_client_that_is_not_installed_stops_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracker = Tracking({"WANDB_MODE": "offline"}).start(tmp_path, "ab" * 32, tiny_config())
    with tracker:
        tracker.log("train", {"update": 1, "total": 2.0})
    assert "ModuleNotFoundError" in caplog.text and "goes on without it" in caplog.text


def test_the_key_is_not_shown_where_an_error_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Talkative:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError(f"bad key {KEY}")

    monkeypatch.setitem(sys.modules, "wandb", Talkative())
    tracking = Tracking({"WANDB_API_KEY": KEY})
    tracking.start(tmp_path, "ab" * 32, tiny_config())
    assert "bad key ***" in caplog.text and KEY not in caplog.text
    assert KEY not in repr(tracking)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"WANDB_API_KEY": ""}, False),
        ({"WANDB_API_KEY": KEY}, True),
        ({"WANDB_MODE": "offline"}, True),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "disabled"}, False),
        ({"WANDB_MODE": "online"}, False),
    ],
)
def test_tracking_is_off_unless_the_environment_asks(environment: dict[str, str], wanted: bool) -> None:
    assert Tracking(environment).wanted == wanted


def test_other_processes_than_the_first_do_not_track(tmp_path: Path) -> None:
    tracker = Tracking({"WANDB_MODE": "offline"}).start(tmp_path, "ab" * 32, tiny_config(), enabled=False)
    assert type(tracker) is Tracker and not list(tmp_path.iterdir())


def test_a_run_keeps_its_id_and_another_run_in_its_folder_gets_another(tmp_path: Path) -> None:
    first = run_id(tmp_path, "ab" * 32)
    assert run_id(tmp_path, "ab" * 32) == first
    assert run_id(tmp_path, "cd" * 32) != first
