"""docs/other-llms.md, followed word by word: its commands are read out of the page and run, on the smoke dataset."""

import shlex
from pathlib import Path

import pytest

from rjepa.adapters.in_use import in_use
from rjepa.home import Home
from rjepa.releases.bundle import list_releases
from rjepa.releases.pointer import current_release

from .running import Ran, rjepa

PAGE = (Path(__file__).parents[2] / "docs" / "other-llms.md").read_text(encoding="utf-8")
DATASET = "v1.0.0"
"""What the page names; the smoke dataset takes its place."""


def commands() -> list[list[str]]:
    """Every command of the playbook, without `rjepa`."""
    playbook = PAGE.partition("\n## The playbook\n")[2].partition("\n## ")[0]
    lines = [line.strip() for line in playbook.splitlines() if line.startswith("    ")]
    assert all(line.startswith("rjepa ") for line in lines), "the playbook shows nothing but commands"
    return [shlex.split(line.replace(DATASET, "smoke"))[1:] for line in lines]


@pytest.mark.slow
def test_somebody_who_follows_the_playbook_gets_what_it_says(demo_copy: Home) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo_copy.dataset("smoke").rglob("*") if path.is_file()}
    outputs: list[tuple[str, Ran]] = []
    for command in commands():
        ran = rjepa(demo_copy.root, *command)
        assert ran.code == 0, (command, ran.stderr)
        outputs.append((" ".join(command[:2]), ran))
        if command[:2] == ["release", "show"]:
            carried = in_use(demo_copy, "tiny-b", "smoke")
    by_verb = dict(reversed(outputs))
    assert carried == "carried"
    table = by_verb["llm migrate"].stdout
    assert "before  tiny-a  its own" in table and "after   tiny-b  R-JEPA carried from tiny-a (adapter, 5 %" in table
    assert "from tiny-a" in by_verb["release list"].stdout
    assert "R-JEPA carried from tiny-a (adapter, 5 % of latents)" in by_verb["release show"].stdout
    assert by_verb["solve --llm"].stdout.strip()
    manifests = list_releases(demo_copy, "tiny-b")
    shares = [None if manifest.carried is None else manifest.carried.share for manifest in manifests]
    assert shares == [0.05, 0.2, None], "what each step of the playbook made"
    assert current_release(demo_copy, "tiny-b") in [manifest.release_id for manifest in manifests]
    after = {path: path.stat().st_mtime_ns for path in demo_copy.dataset("smoke").rglob("*") if path.is_file()}
    assert after == before, "no file of the dataset was written again"


def test_the_page_shows_the_strategies_that_there_are() -> None:
    from rjepa_assets.cli.materialising import STRATEGIES

    shown = [line.split("|")[1].strip(" `") for line in PAGE.splitlines() if line.startswith("| `")]
    assert tuple(shown) == STRATEGIES
    assert {command[command.index("--strategy") + 1] for command in commands() if "--strategy" in command} <= set(shown)
