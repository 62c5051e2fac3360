"""The evidence of a night: the challenger's sealed problems, and the terms that the gate decides under.

The gate decides (`rjepa.releases.gate`, rule `nightly`); what a test costs is in `rjepa.living.budget`, which problems
it is made on in `rjepa.living.sealed`.
"""

from rjepa.database import open_database
from rjepa.datasets.reading import load_manifest
from rjepa.errors import CorruptError
from rjepa.evaluation.betting import log_evidence
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.paired import PairedCounts
from rjepa.evaluation.records import EvaluationRecord, list_records
from rjepa.home import Home
from rjepa.living.budget import BUDGET, NIGHTS, Test, charge, earlier_candidates
from rjepa.living.drawing import open_set
from rjepa.living.sealed import USES, live_set, require_live_set
from rjepa.progress import Progress, silent
from rjepa.releases.bundle import load_manifest as load_release
from rjepa.releases.findings import Pair
from rjepa.releases.night import NightBasis, NightTerms
from rjepa.releases.pointer import current_release
from rjepa.releases.stage import NightlyTest, build_release, newest_evaluated
from rjepa.stages import Made
from rjepa.students.stage import student_fingerprint


def build_nightly_release(
    home: Home,
    llm_tag: str,
    dataset: str | None = None,
    *,
    run_id: str = "manual",
    claim: str = ALL,
    progress: Progress = silent,
) -> Made:
    """Release what was trained and evaluated on `dataset` (None: the newest version) if it passes the gate of a night.

    Asking again about the same challenger is answered as before, and costs nothing.

    Args:
        claim: where the challenger has to be better: "all", or a domain. It has to be named before the numbers are
            seen.

    Raises:
        NotFoundError: no sealed problems are ready, or nothing was evaluated.
        RjepaError: as `rjepa.releases.stage.build_release`.
    """
    dataset = dataset or newest_evaluated(home, llm_tag)
    fingerprint = student_fingerprint(home, llm_tag)
    sealed = require_live_set(home, llm_tag)
    served = _served_dataset(home, llm_tag)
    learnt = (dataset,) if served is None else (dataset, served)
    night = NightlyTest(
        sealed.name,
        open_set(home, llm_tag, sealed, fingerprint, learnt),
        lambda challenger, current: draw_basis(home, challenger, current, claim, sealed.name),
    )
    made = build_release(
        home, llm_tag, dataset, run_id=run_id, rule="nightly", claim=claim, night=night, progress=progress
    )
    live_set(home, llm_tag)  # a set that promoted something is retired at once
    return made


def draw_basis(
    home: Home, challenger: EvaluationRecord, current: EvaluationRecord, claim: str, sealed_set: str
) -> NightBasis:
    """What testing a challenger against what is served rests on, on the candidates of a sealed set. The same test,
    asked for again, has the same terms.

    Raises:
        ValueError: the two were judged on different candidates.
    """
    if challenger.candidates.sha256 != current.candidates.sha256:
        raise ValueError("terms are drawn for records of the same candidates")
    inside = challenger.in_domain(claim)
    # A claim that no problem belongs to is refused by the gate, whatever is recorded for it.
    inside = inside if inside.any() else ~inside
    counts = PairedCounts.of(challenger.right[inside], current.right[inside])
    test = Test(
        llm_tag=challenger.llm_tag,
        challenger=challenger.content,
        current=current.content,
        claim=claim,
        candidates=challenger.candidates.sha256,
        sealed_set=sealed_set,
    )

    def weigh(alpha: float, carried: float) -> float:
        return float(log_evidence(counts.only_first, counts.only_second, alpha, carried))

    with open_database(home) as database:
        charged = charge(database, test, weigh)
        before = earlier_candidates(database, test)
    terms = NightTerms(
        sealed_set=sealed_set,
        uses=charged.uses,
        uses_allowed=USES,
        alpha=charged.alpha,
        budget=BUDGET,
        nights=NIGHTS,
        budget_left=charged.left,
        carried=charged.carried,
        old_domains=tuple(sorted(load_manifest(home, current.trained_on)["counts"]["by_domain"])),
    )
    return NightBasis(terms, _records_on(home, challenger, current, before))


def _records_on(
    home: Home, challenger: EvaluationRecord, current: EvaluationRecord, candidates: list[str]
) -> tuple[Pair, ...]:
    """What is kept of the same two on other candidates, named by their hashes; what is gone is left out."""
    if not candidates:
        return ()
    ours, theirs = (
        {record.candidates.sha256: record for record in list_records(home, one.llm_tag, one.content)}
        for one in (challenger, current)
    )
    return tuple((ours[name], theirs[name]) for name in candidates if name in ours and name in theirs)


def _served_dataset(home: Home, llm_tag: str) -> str | None:
    """Dataset of what is served; None where nothing is, or it cannot be read, which the gate will say."""
    try:
        release_id = current_release(home, llm_tag)
        return None if release_id is None else load_release(home, llm_tag, release_id).dataset
    except CorruptError:
        return None
