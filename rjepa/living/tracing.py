"""Where an interaction went: data sets, versions, checkpoints, LoRAs and releases that saw it, and the last releases
that did not.

What a release has learnt from is in `rjepa.releases.lineage`; deleting is in `rjepa.feedback.interactions`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from rjepa.datasets.leaks import datasets_at_home
from rjepa.datasets.recipe import dataset_names, imported_file
from rjepa.feedback.known import FEEDBACK
from rjepa.feedback.snapshot import INTERACTIONS, feedback_problems
from rjepa.files import read_json
from rjepa.home import Home
from rjepa.releases.bundle import list_releases
from rjepa.releases.lineage import last_clean, learnt_problems
from rjepa.releases.pointer import current_release
from rjepa.students.lora.files import list_loras, open_lora
from rjepa.students.lora.recipe import LoraRecipe, replay_dataset


@dataclass(frozen=True)
class SeenBy:
    """A checkpoint, LoRA or release that may have learnt from an interaction; `name` is a dataset version, the LoRA's
    name or a release id.
    """

    llm_tag: str
    name: str
    served: bool = False


@dataclass(frozen=True)
class Trace:
    """Everything in a home that saw one interaction.

    snapshots: data sets that it was registered in. versions: by dataset version, the problems that hold something of
    it. clean: for each LLM whose served release saw it, the newest release of its lineage that did not, or None.
    """

    interaction_id: str
    snapshots: tuple[str, ...]
    versions: dict[str, tuple[str, ...]]
    checkpoints: tuple[SeenBy, ...]
    loras: tuple[SeenBy, ...]
    releases: tuple[SeenBy, ...]
    clean: dict[str, str | None]

    @property
    def is_served(self) -> bool:
        """Whether a release that is served now may have learnt from it."""
        return any(release.served for release in self.releases)


def trace(home: Home, interaction_id: str) -> Trace:
    """Find everything that saw an interaction.

    Raises:
        NotFoundError, CorruptError: a version, LoRA or release is damaged or gone, so that nobody can tell what it saw.
    """
    versions: dict[str, tuple[str, ...]] = {}
    for dataset in datasets_at_home(home):
        held = sorted(one for one, ids in feedback_problems(home, dataset).items() if interaction_id in ids)
        if held:
            versions[dataset] = tuple(held)
    problems = {problem for found in versions.values() for problem in found}
    releases = tuple(_releases(home, problems)) if problems else ()
    return Trace(
        interaction_id,
        tuple(_snapshots(home, interaction_id)),
        versions,
        tuple(_checkpoints(home, set(versions), releases)) if problems else (),
        tuple(_loras(home, set(versions))) if problems else (),
        releases,
        {one.llm_tag: last_clean(home, one.llm_tag, problems) for one in releases if one.served},
    )


def _snapshots(home: Home, interaction_id: str) -> Iterator[str]:
    for name in dataset_names(home):
        if not name.startswith(FEEDBACK):
            continue
        with imported_file(home, name).open(encoding="utf-8") as lines:
            if any(interaction_id in json.loads(line).get("meta", {}).get(INTERACTIONS, ()) for line in lines):
                yield name


def _releases(home: Home, problems: set[str]) -> Iterator[SeenBy]:
    root = home.root / "releases"
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        served = current_release(home, folder.name)
        for manifest in list_releases(home, folder.name):
            if not problems.isdisjoint(learnt_problems(home, folder.name, manifest.release_id)):
                yield SeenBy(folder.name, manifest.release_id, served=manifest.release_id == served)


def _checkpoints(home: Home, versions: set[str], releases: tuple[SeenBy, ...]) -> Iterator[SeenBy]:
    """Models of the versions, and those that went on from a release that saw it."""
    saw = {(release.llm_tag, release.name) for release in releases}
    for folder in sorted((home.root / "models").glob("*/*")):
        llm_tag, version = folder.parent.name, folder.name
        configs = [folder / "config.json", *folder.glob("variants/*/config.json")]
        origins = {read_json(path).get("init_from") for path in configs if path.is_file()}
        if version in versions or any((llm_tag, origin) in saw for origin in origins):
            yield SeenBy(llm_tag, version)


def _loras(home: Home, versions: set[str]) -> Iterator[SeenBy]:
    """LoRAs that were trained here on one of the versions, or that replayed one."""
    for base, name in list_loras(home):
        manifest = open_lora(home, base, name).manifest
        if manifest.dataset is None:
            continue
        recipe = LoraRecipe.model_validate(manifest.recipe)
        if not versions.isdisjoint({manifest.dataset, replay_dataset(home, manifest.dataset, recipe)}):
            yield SeenBy(base, name)
