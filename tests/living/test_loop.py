"""The whole loop, for real: users over HTTP, nights through Dagster's runs, and SIGKILL in the middle of them."""

import json
import os
import shutil
from pathlib import Path

import pytest

from benchmarks.killing import Point, open_loop
from rjepa.database import open_database
from rjepa.datasets.reading import problem_ids
from rjepa.feedback.interactions import list_interactions
from rjepa.home import Home
from rjepa.living.simulation.script import SMALL, WITHDRAWS
from rjepa.releases.bundle import verify
from rjepa.releases.lineage import lineage
from rjepa.releases.pointer import require_current
from tests.assets.running import Ran, rjepa

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("RJEPA_TEST_LIVING"), reason="takes five minutes; RJEPA_TEST_LIVING=1 runs it"
    ),
]

_PATIENCE = 2400.0
"""Seconds. Two nights take some minutes of two cores, and many times that on a crowded machine."""

Lived = tuple[Home, Ran, Home]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """A home after the small simulation, what the command said, and a copy with the first release alone."""
    root = tmp_path_factory.mktemp("living")
    ran = rjepa(root, "demo", "--living", "--size", "small", patience=_PATIENCE)
    return Home(root / "living" / "small-0"), ran, Home(root)


def test_simulated_nights_end_in_a_release_that_verifies_and_figures_with_intervals(lived: Lived) -> None:
    home, ran, _ = lived
    assert ran.code == 0, ran.stderr[-2000:]
    figures = json.loads((home.root / "simulation" / "figures.json").read_text())
    assert len(figures["nights"]) == len(SMALL.scenes)
    for night in figures["nights"]:
        assert night["outcome"] in ("promoted", "refused") and night["text"]
        for arm in ("living", "never", "unfiltered"):
            value, low, high = night["arms"][arm]["all"]["accuracy"]
            assert 0 <= low <= value <= high <= 1
    assert set(figures["worst_forgetting"]) == {"living", "unfiltered"}
    assert (home.root / "simulation" / "nights.png").stat().st_size > 1000
    verify(home, "tiny-a", require_current(home, "tiny-a"))
    assert "worst forgetting of living" in ran.stdout and "never retrain" in ran.stdout


def test_who_withdrew_is_gone_and_everybody_elses_answers_are_kept(lived: Lived) -> None:
    home, _, _ = lived
    last = json.loads((home.root / "simulation" / f"night-{len(SMALL.scenes)}.json").read_text())
    assert last["fates"]["accepted_of_withdrawn"] == 0
    asked = [
        json.loads(line)
        for path in (home.root / "simulation").glob("asked-*.jsonl")
        for line in path.read_text().splitlines()
    ]
    gone = {one["id"] for one in asked if one["who"] == WITHDRAWS}
    with open_database(home) as database:
        kept = {one.interaction_id for one in list_interactions(database) if one.content is not None}
    assert not gone & kept
    assert {one["id"] for one in asked} - gone == kept


def test_started_again_it_finds_everything_and_says_the_same(lived: Lived) -> None:
    _, ran, root = lived
    again = rjepa(root.root, "demo", "--living", "--size", "small")
    assert again.code == 0 and again.stdout == ran.stdout


def test_after_kills_a_whole_release_answers_and_nothing_acknowledged_is_lost(lived: Lived, tmp_path: Path) -> None:
    done, _, _ = lived
    home = Home(tmp_path / "home")
    shutil.copytree(done.root, home.root)
    first = lineage(home, "tiny-a", require_current(home, "tiny-a"))[-1]
    with open_loop(home, tmp_path / "logs") as loop:
        loop.give_feedback(4)
        for point in (
            Point("run", "problems", 0.0),
            Point("run", "latents", 0.5),
            Point("stage", "rjepa_checkpoint", 3.0),
            Point("run", "release", 0.0),
        ):
            loop.kill(point)
        loop.give_feedback(2)
        outcome = loop.finish()
    assert loop.broken == []
    assert outcome in ("promoted", "refused", "nothing_new")
    assert problem_ids(home, first.dataset)
