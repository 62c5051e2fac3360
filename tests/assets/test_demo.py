"""`rjepa demo`, for real: what it prints, that it is safe to kill at any point, and that it does nothing twice."""

import dataclasses
import os
import re
import shutil
import signal
from fnmatch import fnmatch
from pathlib import Path

import pytest

from rjepa.evaluation.reading import read_report
from rjepa.home import Home
from rjepa.locks import stage_lock
from rjepa.releases.bundle import load_manifest, verify
from rjepa.releases.pointer import require_current
from rjepa_assets.definitions import build_defs
from rjepa_assets.defs.partitions import DATASET, LLM
from rjepa_assets.instance import open_instance
from rjepa_assets.launching import CheckFailedError, release_launches, run_all, stages_of, starting_from
from rjepa_assets.requests import REQUEST

from .running import SMOKE, Ran, kill_in, rjepa

pytestmark = pytest.mark.slow

PARTITION = ("tiny-a", "smoke")


def leftovers(home: Path) -> list[str]:
    """Files that a killed writer began and no one finished or removed."""
    return [str(path) for path in home.rglob("*.tmp")]


def fingerprint_of(home: Path) -> tuple[str, str]:
    """The report and the release's content: equal where all that leads to them is equal."""
    current = require_current(Home(home), "tiny-a")
    return read_report(Home(home), *PARTITION).model_dump_json(), load_manifest(
        Home(home), "tiny-a", current
    ).content_hash


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


def test_a_second_demo_finds_everything_and_makes_nothing(demo: tuple[Path, Ran], demo_copy: Home) -> None:
    ran = rjepa(demo_copy.root, "demo", *SMOKE)
    assert ran.code == 0, ran.stderr
    assert set(ran.fates.values()) == {"is up to date"} and len(ran.fates) == 12
    shown = [
        re.sub(r"^  /.*(?=/reports/)", "  HOME", text, flags=re.MULTILINE) for text in (demo[1].stdout, ran.stdout)
    ]
    assert shown[0] == shown[1]


def test_a_file_that_went_missing_is_made_again_and_nothing_else_changes(demo_copy: Home) -> None:
    before = fingerprint_of(demo_copy.root)
    (demo_copy.models(*PARTITION) / "calibration.json").unlink()
    ran = rjepa(demo_copy.root, "demo", *SMOKE)
    assert ran.code == 0, ran.stderr
    assert [asset for asset, fate in ran.fates.items() if fate == "done"] == ["score_calibration"]
    assert fingerprint_of(demo_copy.root) == before


def test_a_corrupted_file_is_made_again_by_the_same_command(demo_copy: Home) -> None:
    before = fingerprint_of(demo_copy.root)
    model = demo_copy.models(*PARTITION) / "rjepa" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"\x01")
    mended = rjepa(demo_copy.root, "demo", *SMOKE)
    assert mended.code == 0, mended.stderr
    assert mended.fates["rjepa_checkpoint"] == "done" and mended.fates["latents"] == "is up to date"
    assert fingerprint_of(demo_copy.root) == before


def test_a_corrupt_release_is_not_up_to_date(demo_copy: Home) -> None:
    release = demo_copy.releases("tiny-a") / require_current(demo_copy, "tiny-a")
    [weights] = release.rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    ran = rjepa(demo_copy.root, "backfill", "--llm", "tiny-a", *SMOKE, "--release")
    assert ran.code == 0, ran.stderr
    verify(demo_copy, "tiny-a", require_current(demo_copy, "tiny-a"))


def test_a_failed_blocking_check_stops_the_path_and_is_named(demo_copy: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    import rjepa.jepa.stage as stage

    whole = stage.read_diagnostics(demo_copy, *PARTITION)
    for name in ("DAGSTER_HOME", "RJEPA_HOME"):
        monkeypatch.setenv(name, "")
    launches = starting_from(stages_of(release_launches("smoke", "tiny-a", "smoke")), "rjepa_checkpoint")
    log = demo_copy.root / "log"
    with open_instance(demo_copy) as instance, log.open("w") as stream:
        with monkeypatch.context() as broken:
            broken.setattr(stage, "read_diagnostics", lambda *_: dataclasses.replace(whole, rankme=1.0, deviation=0.0))
            with pytest.raises(CheckFailedError, match="representation_has_not_collapsed"):
                run_all(instance, launches, stream.fileno())
        assert "rjepa_checkpoint" in log.read_text() and "score_calibration" not in log.read_text()
        run_all(instance, launches, stream.fileno())
    assert "release" in log.read_text()


def test_the_demos_runs_stand_in_the_history_of_jobs_with_their_code_location(demo: tuple[Path, Ran]) -> None:
    with open_instance(Home(demo[0])) as instance:
        runs = instance.get_runs()
        assert {run.job_name for run in runs} == {"dataset_version", "llm", "dataset_and_llm", "release_llm"}
        for run in runs:
            assert run.remote_job_origin is not None and run.remote_job_origin.location_name == "rjepa"
        assert instance.get_dynamic_partitions(DATASET) == ["smoke"]
        assert instance.get_dynamic_partitions(LLM) == ["tiny-a"]
        assert instance.get_materialized_partitions(REQUEST) == {"smoke|tiny-a"}


def test_every_figure_that_the_demo_shows_is_explained_and_short(demo: tuple[Path, Ran]) -> None:
    specs = {spec.key: spec for spec in build_defs().resolve_all_asset_specs()}
    with open_instance(Home(demo[0])) as instance:
        for key in instance.get_asset_keys():
            made = instance.get_latest_materialization_event(key)
            assert made is not None and made.asset_materialization is not None
            if key == REQUEST:
                continue
            known = re.findall(r"\*\*(.+?)\*\*:", str(specs[key].metadata["figures"].value))
            for name, value in made.asset_materialization.metadata.items():
                assert name.startswith("dagster/") or any(fnmatch(name, pattern) for pattern in known), (key, name)
                if isinstance(value.value, float):
                    assert len(f"{value.value:.15g}".lstrip("-0.").replace(".", "").split("e")[0]) <= 5, (key, name)


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
    with stage_lock(demo_copy, "problems", "smoke"):
        ran = rjepa(demo_copy.root, "demo", *SMOKE)
    assert ran.code == 1
    assert f"is being made by another process (pid {os.getpid()})" in ran.stderr and "Traceback" not in ran.stderr


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
