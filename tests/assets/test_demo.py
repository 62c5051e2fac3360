"""`rjepa demo`, for real: what it prints, that it is safe to kill at any point, and that it does nothing twice."""

import dataclasses
import shutil
import signal
from pathlib import Path

import pytest

from rjepa.evaluation.reading import read_report
from rjepa.home import Home
from rjepa.releases.bundle import load_manifest, verify
from rjepa.releases.pointer import require_current
from rjepa_assets.definitions import build_defs
from rjepa_assets.defs.resources import HomeResource
from rjepa_assets.instance import open_instance
from rjepa_assets.pipeline import CheckFailedError, Pipeline, Target

from .running import SMOKE, Ran, kill_in, rjepa

PAIR = ("tiny-a", "smoke")


def leftovers(home: Path) -> list[str]:
    """Files that a killed writer began and no one finished or removed."""
    return [str(path) for path in home.rglob("*.tmp")]


def fingerprint_of(home: Path) -> tuple[str, str]:
    """The report and the release's content: equal where all that leads to them is equal."""
    current = require_current(Home(home), "tiny-a")
    return read_report(Home(home), *PAIR).model_dump_json(), load_manifest(Home(home), "tiny-a", current).content_hash


def test_the_demo_shows_every_way_of_choosing_with_intervals_and_what_to_type_next(demo: tuple[Path, Ran]) -> None:
    _, ran = demo
    for label in ("One sample", "Majority", "R-JEPA", "as served", "Oracle"):
        assert label.lower() in ran.stdout.lower()
    for domain in ("all", "code", "logic", "math"):
        assert domain in ran.stdout.splitlines()[4]
    assert "95 % intervals" in ran.stdout
    assert "Served for tiny-a: release " in ran.stdout
    assert "rjepa solve " in ran.stdout and "make dev" in ran.stdout
    assert set(ran.fates.values()) == {"done"} and len(ran.fates) == 12


def test_the_demo_leaves_a_release_that_verifies_and_nothing_half_written(demo: tuple[Path, Ran]) -> None:
    root, _ = demo
    verify(Home(root), "tiny-a", require_current(Home(root), "tiny-a"))
    assert leftovers(root) == []


def test_a_second_demo_finds_everything_and_is_quick(demo: tuple[Path, Ran]) -> None:
    root, first = demo
    ran = rjepa(root, "demo", *SMOKE)
    assert ran.code == 0, ran.stderr
    assert set(ran.fates.values()) == {"is up to date"} and len(ran.fates) == 12
    assert ran.seconds < max(20.0, first.seconds / 2)
    assert ran.stdout == first.stdout


def test_a_file_that_went_missing_is_made_again_and_nothing_else_changes(demo_copy: Home) -> None:
    before = fingerprint_of(demo_copy.root)
    (demo_copy.models(*PAIR) / "calibration.json").unlink()
    ran = rjepa(demo_copy.root, "demo", *SMOKE)
    assert ran.code == 0, ran.stderr
    assert [asset for asset, fate in ran.fates.items() if fate == "done"] == ["score_calibration"]
    assert fingerprint_of(demo_copy.root) == before


def test_a_corrupted_shard_stops_what_reads_it_and_a_redo_mends_it(demo_copy: Home) -> None:
    before = fingerprint_of(demo_copy.root)
    shard = min(demo_copy.shards("rollouts", "tiny-a").rglob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    broken = rjepa(demo_copy.root, "backfill", "--llm", "tiny-a", *SMOKE, "--from", "score_calibration")
    assert broken.code == 1
    assert str(shard.name) in broken.stderr and "->" in broken.stderr and "Traceback" not in broken.stderr
    mended = rjepa(demo_copy.root, "backfill", "--llm", "tiny-a", *SMOKE, "--from", "rollouts")
    assert mended.code == 0, mended.stderr
    assert fingerprint_of(demo_copy.root) == before


def test_a_failed_blocking_check_stops_the_path_and_is_named(demo_copy: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    import rjepa.jepa.stage as stage

    whole = stage.read_diagnostics(demo_copy, *PAIR)
    monkeypatch.setattr(stage, "read_diagnostics", lambda *_: dataclasses.replace(whole, rankme=1.0, deviation=0.0))
    for name in ("DAGSTER_HOME", "RJEPA_HOME"):
        monkeypatch.setenv(name, "")
    defs = build_defs({"home": HomeResource(root=str(demo_copy.root))})
    with open_instance(demo_copy) as instance:
        pipeline = Pipeline(defs, instance, demo_copy, Target("smoke", "tiny-a", "smoke"))
        began: list[str] = []
        with pytest.raises(CheckFailedError, match="representation_has_not_collapsed"):
            list(pipeline.run(lambda step: began.append(step.asset), redo_from="rjepa_checkpoint"))
        assert began == ["rjepa_checkpoint"]
        monkeypatch.undo()
        made = [step.asset for step in pipeline.run(lambda step: None) if step.seconds is not None]
    assert made == ["rjepa_checkpoint"]


def test_killed_at_many_points_the_demo_ends_where_an_uninterrupted_one_does(
    demo: tuple[Path, Ran], tmp_path: Path
) -> None:
    root = tmp_path / "home"
    points = [
        ("problems", 0.1),
        ("validated_chains", 0.05),
        ("rollouts", 2.0),
        ("rjepa_checkpoint", 1.5),
        ("release", 0.1),
    ]
    finished: set[str] = set()
    for asset, delay in points:
        ran = kill_in(root, asset, delay, signal.SIGKILL, "demo", *SMOKE)
        assert ran.code in (-signal.SIGKILL, 0), ran.stderr
        again = {name for name, fate in ran.fates.items() if fate == "done"} & finished
        assert again == set(), f"made twice: {again}"
        finished |= set(ran.fates)
    ran = rjepa(root, "demo", *SMOKE)
    assert ran.code == 0, ran.stderr
    assert leftovers(root) == []
    assert fingerprint_of(root) == fingerprint_of(demo[0])
    with open_instance(Home(root)) as instance:
        unfinished = [run.run_id for run in instance.get_runs() if not run.is_finished]
    assert unfinished == []


@pytest.mark.parametrize("delay", [0.0, 0.25])  # at the second, Python used to drop it
def test_ctrl_c_is_no_error_report_and_loses_nothing(tmp_path: Path, delay: float) -> None:
    root = tmp_path / "home"
    ran = kill_in(root, "teacher_chains", delay, signal.SIGINT, "demo", *SMOKE)
    assert ran.code == 130
    assert "run the same command again" in ran.stderr and "Traceback" not in ran.stderr
    assert "problems" in ran.fates


def test_two_demos_do_not_write_the_same_files_at_once(demo_copy: Home) -> None:
    import fcntl

    with (demo_copy.dagster / "materialise.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = rjepa(demo_copy.root, "demo", *SMOKE)
    assert ran.code == 1
    assert "another process" in ran.stderr and "Traceback" not in ran.stderr


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 2 MB."""
    import subprocess

    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_refused_with_a_cure_and_the_demo_goes_on_where_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    root = small_disk / "home"
    ran = rjepa(root, "demo", *SMOKE)
    assert ran.code == 1
    assert "disk is full" in ran.stderr and "RJEPA_HOME" in ran.stderr and "Traceback" not in ran.stderr
    shutil.copytree(root, tmp_path / "roomy")
    assert leftovers(tmp_path / "roomy") == []
