"""The one entry point of the `release` asset: build the bundle, ask the gate, move the pointer, record the decision."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rjepa.errors import CorruptError
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.records import EvaluationRecord
from rjepa.files import remove_temporary
from rjepa.home import Home
from rjepa.parts import PartSource
from rjepa.releases.bundle import Facts, Manifest, build_bundle, load_manifest, verify
from rjepa.releases.findings import Rule
from rjepa.releases.gate import Decision, Unmeasurable, decide
from rjepa.releases.history import Action, history
from rjepa.releases.night import NightBasis
from rjepa.releases.pointer import current_release, exclusive, move


@dataclass(frozen=True)
class ReleaseReport:
    """What was built and what became of it. `current` is the release that is served afterwards."""

    manifest: Manifest
    decision: Decision
    current: str | None


def release(
    home: Home,
    llm_tag: str,
    dataset: str,
    sources: Sequence[PartSource],
    facts: Facts,
    *,
    challenger: EvaluationRecord,
    judge: Callable[[Manifest], EvaluationRecord],
    rule: Rule = "replace",
    claim: str = ALL,
    draw: Callable[[EvaluationRecord, EvaluationRecord], NightBasis] | None = None,
) -> ReleaseReport:
    """Build a release and serve it if the gate agrees. Safe to run again: equal content is the same release.

    Args:
        challenger: the evaluation of these very parts.
        judge: gives the record of the release that is served now on the challenger's candidates. It is called where
            that release is whole and belongs to the same student.
        rule: what the gate asks for, see `rjepa.releases.gate`.
        claim: where the challenger has to be better under rules `improve` and `nightly`: "all", or a domain.
        draw: draws what rule `nightly` decides under from the records of challenger and current release; called where
            these are to be compared, and nowhere else, as drawing has its price.

    Raises:
        NotFoundError: a source file is missing.
        CorruptError: a source file is neither JSON nor safetensors.
        ValueError: `challenger` is the evaluation of something else.
    """
    with exclusive(home, llm_tag):
        remove_temporary(home.releases(llm_tag))
        current, unmeasurable = _readable_current(home, llm_tag, facts.student_fingerprint)
        replaces = None if current is None else current.release_id
        release_id = build_bundle(home, llm_tag, dataset, sources, facts, replaces=replaces)
        manifest = load_manifest(home, llm_tag, release_id)
        if challenger.content != manifest.content_hash:
            raise ValueError(f"release {release_id} was not what the evaluation judged ({challenger.content[:12]})")
        if current is not None and release_id == current.release_id:
            text = "this content is what is served now"
            done = Decision(promote=True, rule=rule, claim=claim, reason="already_current", text=text)
            return ReleaseReport(manifest, done, release_id)
        if rule != "replace" and _was_taken_back(home, llm_tag, release_id):
            text = "its live health fell when it was served; a person may serve it: rjepa release rollback --to ID"
            decision = Decision(promote=False, rule=rule, claim=claim, reason="taken_back", text=text)
            move(home, llm_tag, "refuse", release_id, reason=decision.reason, decision=decision)
            return ReleaseReport(manifest, decision, replaces)
        if (
            rule != "nightly"
            and facts.diagnosis.passed
            and not unmeasurable
            and _chooses_alike(manifest, current, rule)
        ):
            text = "it chooses as the release that is served, and differs in what speaks and guides alone"
            decision = Decision(promote=True, rule=rule, claim=claim, reason="same_choice", text=text)
            move(home, llm_tag, "promote", release_id, reason=decision.reason, decision=decision)
            return ReleaseReport(manifest, decision, release_id)
        found = None if current is None or unmeasurable else judge(current)
        drawn = None
        if draw is not None and found is not None and facts.diagnosis.passed:
            drawn = draw(challenger, found)
        decision = decide(
            challenger,
            found,
            rule=rule,
            claim=claim,
            diagnostics_passed=facts.diagnosis.passed,
            unmeasurable=unmeasurable,
            terms=None if drawn is None else drawn.terms,
            earlier=() if drawn is None else drawn.earlier,
        )
        action: Action = "promote" if decision.promote else "refuse"
        move(home, llm_tag, action, release_id, reason=decision.reason, decision=decision)
        return ReleaseReport(manifest, decision, release_id if decision.promote else replaces)


def _chooses_alike(manifest: Manifest, current: Manifest | None, rule: Rule) -> bool:
    """Whether a release chooses as the current one, and can do whatever that can, so that there is nothing to judge.
    Where no person asked for it, what the current one speaks and guides by has to be there unchanged, too.
    """
    if current is None or not manifest.chooses_as(current) or not manifest.has([part.name for part in current.parts]):
        return False
    return rule == "replace" or all(manifest.part(part.name) == part for part in current.parts)


def _was_taken_back(home: Home, llm_tag: str, release_id: str) -> bool:
    """Whether a release was served and left without a person's asking."""
    return any(entry.is_automatic and entry.source == release_id for entry in history(home, llm_tag))


def _readable_current(
    home: Home, llm_tag: str, student_fingerprint: str
) -> tuple[Manifest | None, Unmeasurable | None]:
    """Manifest of what is served, None where nothing is or where it cannot be read; and why it cannot be judged."""
    try:
        current = current_release(home, llm_tag)
        if current is None:
            return None, None
        manifest = load_manifest(home, llm_tag, current)
    except CorruptError:
        return None, "damaged"
    if manifest.student_fingerprint != student_fingerprint:
        return manifest, "other_student"
    try:
        verify(home, llm_tag, current)
    except CorruptError:
        return manifest, "damaged"
    return manifest, None
