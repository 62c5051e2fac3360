"""What a night is going to do, worked out before anything is made: what it learns, from which release on, how fast; or
why it does not begin. Nothing is trained here: Dagster's runs do that (`rjepa_assets.nights`).

The next version grows from the version of the release that is served, or from a newer one that an operator made; never
from what an earlier night tried. What a night learnt stays only with the release that was proved with it; everything
else is selected again, with the votes of today.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rjepa.database import Database
from rjepa.datasets.leaks import datasets_at_home
from rjepa.datasets.parts import MANIFEST
from rjepa.datasets.recipe import dataset_names, load_recipe
from rjepa.datasets.versions import create_version, next_version, version_key
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.feedback.decisions import Selection
from rjepa.feedback.evidence import Evidence, gather
from rjepa.feedback.examples import EXAMPLE
from rjepa.feedback.selection import select
from rjepa.feedback.snapshot import withdrawn_problems, write_snapshot
from rjepa.home import Home
from rjepa.jepa.config import Tuning
from rjepa.living.attempts import KILLED, Attempt, Outcome, Trigger, finish, list_attempts
from rjepa.living.joined import joined_file, write_joined
from rjepa.living.limits import Limited, Offer, find_limit, learning_rate
from rjepa.living.settings import LearningSettings, read_settings
from rjepa.moments import to_iso
from rjepa.parts import GUIDANCE_FOLDER
from rjepa.releases.bundle import Manifest, load_manifest, release_folder
from rjepa.releases.history import history
from rjepa.releases.lineage import last_clean, refuse_carried
from rjepa.releases.pointer import current_release, require_current
from rjepa.verbalizer.config import GUIDANCE_RECIPE, decoder_config_names


@dataclass(frozen=True)
class Plan:
    """One night of one LLM, before it begins."""

    llm_tag: str
    parent: str
    """version that the night's own grows from"""
    served: str
    """release that is served now"""
    init_from: str
    """release that training goes on from: the served one, or the last that is clean of what was withdrawn"""
    tuning: Tuning
    selection: Selection
    removes: tuple[str, ...]
    """problems of the parent that are left out"""
    guidance_recipe: str
    """that the guidance of the served release was trained by, so that its successor guides as well; empty where that
    release has no decoders"""

    @property
    def accepted(self) -> int:
        """Interactions that the night learns from."""
        return len(self.selection.accepted)

    def describe(self) -> str:
        """The plan in a sentence."""
        without = f" without {len(self.removes)} withdrawn problem(s)" if self.removes else ""
        clean = ", the last that never saw them" if self.removes else ""
        return (
            f"{self.parent}{without} and {self.accepted} accepted interaction(s); {self.llm_tag} goes on from release "
            f"{self.init_from}{clean}, at a learning rate of {self.tuning.learning_rate:g}"
        )


Hindrance = Literal["nothing_new", "refused_before", "limited"]
"""Why no night begins: nothing to learn, nothing since the gate refused the same, or a limit."""


@dataclass(frozen=True)
class NoNight:
    """Why no night begins: in a word, in a sentence, and by which limit where it is one."""

    selection: Selection
    kind: Hindrance
    text: str
    limit: Limited | None = None

    @property
    def outcome(self) -> Outcome:
        """The word under which it is recorded."""
        return "nothing_new" if self.limit is None else "limited"

    def describe(self) -> str:
        """Why, and where a limit refuses what to do."""
        return self.text if self.limit is None else f"{self.text}\n  -> {self.limit.cure}"


def plan_night(
    home: Home,
    database: Database,
    llm_tag: str,
    *,
    trigger: Trigger = "person",
    rolled_back_ms: int | None = None,
) -> Plan | NoNight:
    """Select from feedback, apply the limits, and plan what the night would do. Nothing is written.

    Args:
        rolled_back_ms: when a release was last rolled back without a person; None for never.

    Raises:
        NotFoundError: nothing is served, so that there is nothing to go on from.
        InvalidInputError: every release has learnt what was withdrawn, or what is served was carried over.
        CorruptError: a dataset or a release is damaged.
    """
    served = load_manifest(home, llm_tag, require_current(home, llm_tag))
    refuse_carried(served)
    settings, attempts = read_settings(database), list_attempts(database, llm_tag)
    parent = _parent(home, served.dataset)
    chosen = select(_wanted(gather(home, database, parent), settings))
    removes = withdrawn_problems(home, chosen, parent)
    learnt = {*removes, *withdrawn_problems(home, chosen, served.dataset)}
    if learnt:  # a night that forgets is not asked for a gain: it learns nothing that would have to show one
        chosen = chosen.waiting
    offer = Offer(len(chosen.accepted), len(learnt))
    if not offer.accepted and not offer.withdrawn:
        return NoNight(
            chosen, "nothing_new", "nothing to learn: no accepted interaction is new, and none was withdrawn"
        )
    if trigger in ("schedule", "sensor") and _was_refused(attempts, chosen.sha256, served.release_id):
        return NoNight(chosen, "refused_before", "nothing new since the gate refused the same")
    with database.reading() as connection:
        now_ms = database.now_ms(connection)
    limit = find_limit(settings, offer, attempts, now_ms, trigger=trigger, rolled_back_ms=rolled_back_ms)
    if limit is not None:
        return NoNight(chosen, "limited", limit.problem, limit)
    start = last_clean(home, llm_tag, learnt)
    if start is None:
        raise InvalidInputError(
            f"the release of {llm_tag} that is served, and all that it went on from, have learnt what was withdrawn",
            cure="make the version without it and train from nothing: rjepa data create --remove, then rjepa backfill",
        )
    rate = learning_rate(settings, attempts, chosen.sha256)
    return Plan(
        llm_tag=llm_tag,
        parent=parent,
        served=served.release_id,
        init_from=start,
        tuning=Tuning(learning_rate=rate, replay_share=settings.replay_share, ewc=settings.ewc_strength),
        selection=chosen,
        removes=removes,
        guidance_recipe=served_guidance_recipe(home, served),
    )


def served_guidance_recipe(home: Home, served: Manifest) -> str:
    """As `Plan.guidance_recipe`; the usual one where the release's own is no file of configs/verbalizer/ any more."""
    if not served.has({"verbalizer"}) and not served.has({"guidance"}):
        return ""
    from rjepa.verbalizer.checkpoint import recipe_of  # it loads torch, which most plans do without

    made = recipe_of(release_folder(home, served.llm_tag, served.release_id) / GUIDANCE_FOLDER)
    return made if made in decoder_config_names() else GUIDANCE_RECIPE


def prepare(home: Home, plan: Plan) -> str:
    """Register what the night learns, and the version that holds it; returns the version's name. Killed and called
    again for the same plan, it is the same version.

    Raises:
        InvalidInputError: the version cannot be made so.
    """
    snapshot = write_snapshot(home, plan.selection, plan.parent)
    adds = [snapshot.name] if snapshot.name is not None else []
    name = _known_version(home, plan.parent, adds, plan.removes)
    if name is None:
        name = next_version(home, removes=bool(plan.removes))
    write_joined(home, name, plan.parent, plan.selection, snapshot.name, plan.removes)
    create_version(home, name, parent=plan.parent, adds=adds, removes=plan.removes)
    return name


def outcome_of(home: Home, llm_tag: str, dataset: str, since: str = "") -> tuple[Outcome, str, str | None]:
    """How a night ended by the release history: outcome, the gate's words, the bundle. "failed" where the gate was
    not asked about this version.

    Args:
        since: only what the gate said then (in UTC, ISO 8601) or later.
    """
    for entry in reversed(history(home, llm_tag)):
        if entry.decision is None or entry.action == "rollback" or entry.at < since:
            continue
        try:
            manifest = load_manifest(home, llm_tag, entry.target)
        except NotFoundError:
            continue
        if manifest.dataset == dataset:
            outcome: Outcome = "promoted" if entry.action == "promote" else "refused"
            return outcome, entry.decision.text, entry.target
    return "failed", KILLED, None


def settle(home: Home, database: Database, llm_tag: str) -> None:
    """Record the end of nights that were killed, as far as they had come. The caller holds the night's lock.

    What the gate said of the same version on an earlier night is not theirs: a night that was killed on its way would
    be one more refusal, and lower the rate of the next.
    """
    for attempt in list_attempts(database, llm_tag):
        if attempt.outcome == "running" and attempt.dataset is not None:
            ended = outcome_of(home, llm_tag, attempt.dataset, to_iso(attempt.began_at_ms))
            finish(database, attempt.id, *ended)


def growing_from(home: Home, llm_tag: str) -> str | None:
    """The version that a night of this LLM would grow from; None where no version is here: a release may come from
    elsewhere, without its data.
    """
    current = current_release(home, llm_tag)
    served = [] if current is None else [load_manifest(home, llm_tag, current).dataset]
    made = {*datasets_at_home(home)}.intersection([*served, *_made_by_people(home)])
    return max(made, key=lambda name: version_key(name) or (0, 0, 0), default=None)


def _wanted(evidence: list[Evidence], settings: LearningSettings) -> list[Evidence]:
    """All of it; or operators' examples and what was withdrawn, where users' data are not to be learnt from."""
    if settings.include_user_data:
        return evidence
    return [one for one in evidence if one.interaction.mode == EXAMPLE or _is_withdrawn(one)]


def _is_withdrawn(evidence: Evidence) -> bool:
    """Whether it may not be learnt from any more, as `withdrawn_problems` has it."""
    return evidence.interaction.content is None or evidence.opted_out or evidence.excluded


def _parent(home: Home, served: str) -> str:
    """The version of what is served, or the newest released one above it that no night made."""
    return max([served, *_made_by_people(home)], key=lambda name: version_key(name) or (0, 0, 0))


def _made_by_people(home: Home) -> list[str]:
    return [
        name
        for name in dataset_names(home)
        if version_key(name) is not None
        and (home.dataset(name) / MANIFEST).exists()
        and not joined_file(home, name).exists()
    ]


def _known_version(home: Home, parent: str, adds: Sequence[str], removes: Sequence[str]) -> str | None:
    """A version that was made from the same before, by a night that was cut off or refused."""
    for name in dataset_names(home):
        recipe = load_recipe(home, name) if version_key(name) is not None else None
        if recipe is None or recipe.source != "cumulative" or recipe.parent != parent:
            continue
        if [*recipe.adds] == [*adds] and recipe.removes == sorted(set(removes)):
            return name
    return None


def _was_refused(attempts: Sequence[Attempt], selection: str, served: str) -> bool:
    """Whether the gate refused a night that learnt the same, on top of the same release."""
    return any(
        attempt.outcome == "refused" and attempt.selection == selection and attempt.init_from == served
        for attempt in attempts
    )
