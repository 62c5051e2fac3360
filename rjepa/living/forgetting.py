"""Where an interaction went: the versions that hold it, the releases whose weights may have learnt from it, and what is
clean of it. Deleting is `rjepa.feedback.interactions`' matter; the night that makes a clean release, `night`'s.
"""

from dataclasses import dataclass

from rjepa.datasets.parts import MANIFEST
from rjepa.datasets.recipe import dataset_names
from rjepa.errors import NotFoundError
from rjepa.feedback.snapshot import feedback_problems
from rjepa.home import Home
from rjepa.releases.bundle import list_releases
from rjepa.releases.history import Move, history
from rjepa.releases.lineage import last_clean, learnt_problems
from rjepa.releases.pointer import current_release


@dataclass(frozen=True)
class Seen:
    """What an interaction reached, for one LLM."""

    llm_tag: str
    releases: tuple[str, ...]
    """whose weights may have learnt from it, oldest first"""
    served: str | None
    clean: str | None
    """the newest release before what is served that never saw it; None where there is none"""

    @property
    def serves_it(self) -> bool:
        """Whether what is served has learnt from it."""
        return self.served in self.releases


@dataclass(frozen=True)
class Trace:
    """Every version and release that an interaction reached."""

    interaction_id: str
    versions: tuple[str, ...]
    problems: frozenset[str]
    """ids under which versions hold something of it"""
    by_llm: tuple[Seen, ...]


def trace(home: Home, interaction_id: str) -> Trace:
    """Follow an interaction through released versions to releases. One that was deleted is followed alike: what was
    made of it before stays where it is until a clean release takes its place.

    Raises:
        CorruptError: a version or a release is damaged.
    """
    versions, problems = [], set[str]()
    for name in dataset_names(home):
        if not (home.dataset(name) / MANIFEST).exists():
            continue
        own = {problem for problem, ids in feedback_problems(home, name).items() if interaction_id in ids}
        if own:
            versions.append(name)
            problems |= own
    llms = sorted(path.name for path in home.releases("x").parent.glob("*") if path.is_dir())
    return Trace(
        interaction_id,
        tuple(versions),
        frozenset(problems),
        tuple(_seen(home, llm, frozenset(problems)) for llm in llms),
    )


def _seen(home: Home, llm_tag: str, problems: frozenset[str]) -> Seen:
    releases = []
    for manifest in list_releases(home, llm_tag):
        try:
            learnt = learnt_problems(home, llm_tag, manifest.release_id)
        except NotFoundError:
            continue  # its data are gone, and with them what could be said of it
        if not learnt.isdisjoint(problems):
            releases.append(manifest.release_id)
    served = current_release(home, llm_tag)
    return Seen(llm_tag, tuple(releases), served, None if served is None else last_clean(home, llm_tag, problems))


def decided(home: Home, llm_tag: str, release_id: str) -> Move | None:
    """The move that a release was promoted or refused by."""
    return next((move for move in reversed(history(home, llm_tag)) if move.target == release_id), None)
