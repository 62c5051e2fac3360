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
        newest = list_releases(demo_copy, "tiny-b")[-1:]
        typed = [newest[0].release_id if word == "ID" else word for word in command]
        ran = rjepa(demo_copy.root, *typed)
        assert ran.code == 0, (typed, ran.stderr)
        outputs.append((" ".join(command[:2]), ran))
    first = dict(reversed(outputs))
    table = first["llm migrate"].stdout
    assert (
        "before   tiny-a   its own" in table and "after    tiny-b   R-JEPA carried from tiny-a (adapter, 5 %" in table
    )
    assert "adapter smoke|tiny-b" in first["llm migrate"].stderr, "the adapter has the target read its share"
    assert "latents smoke|tiny-b" not in first["llm migrate"].stderr, "and no more"
    assert "from tiny-a" in first["release list"].stdout
    assert "R-JEPA carried from tiny-a (adapter, 5 % of latents)" in first["release show"].stdout
    assert first["solve --llm"].stdout.strip()
    manifests = list_releases(demo_copy, "tiny-b")
    shares = [None if manifest.carried is None else manifest.carried.share for manifest in manifests]
    assert shares == [0.05, None, None], "what each step of the playbook made"
    assert current_release(demo_copy, "tiny-b") == manifests[-1].release_id, "what the last step chose is served"
    assert in_use(demo_copy, "tiny-b", "smoke") == "native", "what was asked for last"
    after = {path: path.stat().st_mtime_ns for path in demo_copy.dataset("smoke").rglob("*") if path.is_file()}
    assert after == before, "no file of the dataset was written again"


def test_the_page_shows_the_strategies_that_there_are() -> None:
    from rjepa_assets.cli.materialising import STRATEGIES

    table = PAGE.partition("\n## The playbook\n")[0]
    shown = [line.split("|")[1].strip(" `") for line in table.splitlines() if line.startswith("| `")]
    assert tuple(shown) == STRATEGIES
    assert {command[command.index("--strategy") + 1] for command in commands() if "--strategy" in command} <= set(shown)
