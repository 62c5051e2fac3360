"""`rjepa data create` as a user types it: a version grows through Dagster's assets, and a kill loses nothing."""

import json
import signal
from pathlib import Path

import pytest

from rjepa.datasets.reading import load_manifest, verify_dataset
from rjepa.home import Home
from tests.datasets.growing import first_version, make, register_more

from .running import kill_in, rjepa

pytestmark = pytest.mark.slow

CREATE = ("data", "create", "v0.2.0", "--from", "v0.1.0", "--add", "more")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """v0.1.0 released, and more problems registered."""
    home = Home(tmp_path / "home")
    first_version(home)
    register_more(home, count=900)
    return home


def test_a_version_that_is_killed_while_it_is_made_is_the_same_in_the_end(home: Home, tmp_path: Path) -> None:
    for asset, delay in (("problems", 0.4), ("validated_chains", 0.5)):
        killed = kill_in(home.root, asset, delay, signal.SIGKILL, *CREATE)
        assert killed.code == -signal.SIGKILL
        assert not (home.dataset("v0.2.0") / "manifest.json").exists()
    done = rjepa(home.root, *CREATE, "--json")
    assert done.code == 0, done.stderr
    manifest = json.loads(done.stdout)
    assert done.fates["problems"] == "is up to date" and done.fates["dataset_release"] == "done"
    assert verify_dataset(home, "v0.2.0").data_hash == manifest["data_hash"]
    assert not list(home.dataset("v0.2.0").glob(".*"))
    other = Home(tmp_path / "other")
    first_version(other)
    register_more(other, count=900)
    text = (home.registry / "datasets" / "v0.2.0.yaml").read_text()
    (other.registry / "datasets" / "v0.2.0.yaml").write_text(text)
    make(other, "v0.2.0")
    assert load_manifest(other, "v0.2.0")["data_hash"] == manifest["data_hash"]


def test_a_version_that_does_not_fit_is_refused_with_a_cure(home: Home) -> None:
    refused = rjepa(home.root, "data", "create", "v0.1.1", "--from", "v0.1.0", "--add", "more")
    assert (refused.code, refused.stdout) == (1, "")
    assert "problems are added" in refused.stderr and "v0.2.0" in refused.stderr
    assert not home.dagster.exists()
