"""`rjepa gc`: what no manifest names goes, and nothing else; safe beside a stage and at kill -9."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rjepa.cli.gc import register
from rjepa.home import Home
from rjepa.latents.building import build_latents
from rjepa.latents.collecting import collect
from rjepa.latents.freezing import build_rollouts
from rjepa.latents.rollouts import open_rollouts
from rjepa.latents.shards import open_latents
from rjepa.latents.store import ShardStore
from rjepa.locks import shared_lock
from rjepa.students.loading import Student
from tests.latents.conftest import DATASET
from tests.students.tiny import open_tiny

ROOT = Path(__file__).resolve().parents[2]
TAG = "tiny-test"
Gc = Callable[..., str]

KILLED = """
import os, signal, sys
from pathlib import Path
from rjepa.home import Home
from rjepa.latents.collecting import collect

unlink = Path.unlink
def dying(path, missing_ok=False):
    unlink(path, missing_ok)
    os.kill(os.getpid(), signal.SIGKILL)
Path.unlink = dying
collect(Home(Path(sys.argv[1])), delete=True, older_than_hours=0)
"""


@pytest.fixture
def gc(monkeypatch: pytest.MonkeyPatch, home: Home) -> Gc:
    """The verb on this home; what it prints."""
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)
    monkeypatch.setenv("RJEPA_HOME", str(home.root))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["gc", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


@pytest.fixture
def made(home: Home, taught: Student) -> Home:
    """Latents and rollouts of one version, and what an earlier build of the same version left."""
    build_latents(home, open_tiny(home, taught.path, poolings=("mean",)), DATASET)
    build_rollouts(home, taught, DATASET, num_candidates=1, seed=7)
    build_latents(home, taught, DATASET)
    build_rollouts(home, taught, DATASET, num_candidates=2, seed=1)
    return home


def files(home: Home) -> set[Path]:
    return {path for path in (home.root / "shards").rglob("*") if path.is_file()}


def test_what_no_manifest_names_is_shown_first_and_removed_when_told(made: Home, taught: Student, gc: Gc) -> None:
    before, latents, rollouts = files(made), open_latents(made, TAG, DATASET), open_rollouts(made, TAG, DATASET)
    found = json.loads(gc("--older-than", "0", "--json"))
    assert [(row["kind"], row["shards"]) for row in found["unnamed"]] == [("latents", 1), ("rollouts", 1)]
    assert files(made) == before and not found["deleted"]
    size = sum(path.stat().st_size for path in before)
    assert f"removed {found['bytes'] / 1e6:.1f} MB" in gc("--older-than", "0", "--delete")
    assert sum(path.stat().st_size for path in files(made)) == size - found["bytes"]
    assert open_latents(made, TAG, DATASET).latents.tobytes() == latents.latents.tobytes()
    assert open_rollouts(made, TAG, DATASET).candidates == rollouts.candidates
    assert build_latents(made, taught, DATASET).metadata["chains_encoded"] == 0
    again = build_rollouts(made, taught, DATASET, num_candidates=2, seed=1)
    assert again.metadata["chains_sampled"] == again.metadata["chains_judged"] == 0
    assert "nothing to remove" in gc("--older-than", "0")


def test_what_was_read_of_a_share_is_kept(home: Home, taught: Student) -> None:
    build_latents(home, taught, DATASET, share=0.25)
    before = files(home)
    assert not collect(home, delete=True, older_than_hours=0).unnamed
    assert files(home) == before and len(open_latents(home, TAG, DATASET, extent="share")) > 0


def test_what_an_interrupted_build_wrote_is_kept_for_a_day(made: Home, taught: Student, gc: Gc) -> None:
    shutil.rmtree(made.latents(TAG, DATASET))
    assert "nothing to remove" in gc("--delete")
    assert build_latents(made, taught, DATASET).metadata["chains_encoded"] == 0
    shutil.rmtree(made.latents(TAG, DATASET))
    for path in files(made):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert "latents of tiny-test: 2 shards" in gc("--delete")
    assert build_latents(made, taught, DATASET).metadata["chains_found"] == 0


def test_nothing_of_an_llm_with_a_stage_at_work_is_removed(made: Home) -> None:
    before = files(made)
    with shared_lock(made, "shards", "latents", TAG):
        found = collect(made, delete=True, older_than_hours=0)
    assert found.skipped == [("latents", TAG, "a stage is at work")]
    assert {path for path in before - files(made)} and all("rollouts" in path.parts for path in before - files(made))


def test_a_manifest_that_cannot_be_read_keeps_everything_of_its_kind(made: Home) -> None:
    (made.latents(TAG, DATASET) / "manifest.json").write_text("{")
    before = files(made)
    found = collect(made, delete=True, older_than_hours=0)
    assert [(kind, tag) for kind, tag, _ in found.skipped] == [("latents", TAG)]
    assert all("rollouts" in path.parts for path in before - files(made))


def test_a_killed_collection_leaves_no_half_shard_that_is_found(made: Home, taught: Student) -> None:
    other = open_tiny(made, taught.path, poolings=("mean",))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(made.root)], cwd=ROOT, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    halves = [path for path in files(made) if not path.with_suffix(".json").exists()]
    assert halves, "the receipt went first"
    assert len(open_latents(made, TAG, DATASET)) > 0
    assert build_latents(made, other, DATASET).metadata["chains_found"] == 0
    assert len(open_latents(made, TAG, DATASET)) > 0
    collect(made, delete=True, older_than_hours=0)
    assert not [path for path in files(made) if not path.with_suffix(".json").exists()]
    store = ShardStore(next(made.shards("latents", TAG).iterdir()), object, "", "")  # type: ignore[type-var]
    assert all(store.is_whole(receipt) for receipt in store.receipts())
