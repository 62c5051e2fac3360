"""The one entry point of the `release` asset: build the bundle, ask the gate, move the pointer, record the decision."""

from dataclasses import dataclass

from rjepa.errors import CorruptError
from rjepa.files import remove_temporary
from rjepa.home import Home
from rjepa.releases.bundle import Facts, Manifest, Sources, build_bundle, load_manifest
from rjepa.releases.gate import DEFAULT_MARGIN, Decision, Figures, decide
from rjepa.releases.pointer import current_release, exclusive, move


@dataclass(frozen=True)
class ReleaseReport:
    """What was built and what became of it. `current` is the release served afterwards."""

    manifest: Manifest
    decision: Decision
    current: str | None


def release(
    home: Home,
    llm_tag: str,
    dataset: str,
    sources: Sources,
    facts: Facts,
    *,
    current_figures: Figures | None = None,
    margin: float = DEFAULT_MARGIN,
) -> ReleaseReport:
    """Build a release and serve it if the gate agrees. Safe to run again: equal content is the same release.

    `current_figures` are the figures of the served release on the candidate's dataset; without them those of its
    manifest are used, which the gate refuses if they come from another dataset.

    Raises:
        NotFoundError: a source file is missing.
        CorruptError: a source file is neither JSON nor safetensors.
    """
    with exclusive(home, llm_tag):
        remove_temporary(home.releases(llm_tag))
        current = _readable_current(home, llm_tag)
        replaces = None if current is None else current.release_id
        release_id = build_bundle(home, llm_tag, dataset, sources, facts, replaces=replaces)
        if release_id == replaces:
            decision = Decision(True, "already_current", "this content is what is served now", {})
            return ReleaseReport(load_manifest(home, llm_tag, release_id), decision, release_id)
        before = None if current is None else current_figures or current.figures
        decision = decide(facts.figures, before, margin=margin)
        action = "promote" if decision.promote else "refuse"
        move(home, llm_tag, action, release_id, reason=decision.reason, numbers=decision.numbers)
        return ReleaseReport(
            load_manifest(home, llm_tag, release_id), decision, release_id if decision.promote else replaces
        )


def _readable_current(home: Home, llm_tag: str) -> Manifest | None:
    """Manifest of what is served; None where nothing is, or where the pointer or its target is broken."""
    try:
        current = current_release(home, llm_tag)
        return None if current is None else load_manifest(home, llm_tag, current)
    except CorruptError:
        return None
