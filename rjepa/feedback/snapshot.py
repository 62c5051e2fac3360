"""Accepted interactions as a data set: registered, immutable, and named by its content.

`rjepa data create vX.Y.Z --parent ... --add NAME --remove ...` makes the next version of it: the same machinery that
drops duplicates, keeps tests out of training and honours deletions for every other source.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rjepa.datasets.parts import part_paths
from rjepa.datasets.registering import register_problems
from rjepa.datasets.sources import WRONG_CHAINS
from rjepa.feedback.decisions import Chosen, Selection
from rjepa.feedback.evidence import problem_of
from rjepa.feedback.known import DOMAIN, FEEDBACK
from rjepa.files import sha256_json
from rjepa.home import Home
from rjepa.problems.lines import WorkedProblem, normalised
from rjepa.problems.splitting import split_by_hash
from rjepa.schemas import ChainOfThought

INTERACTIONS: Final = "interactions"
"""Key of a problem's `meta`: the ids of every interaction that a part of it came from, negatives included."""
WEIGHT: Final = "weight"
"""Key of a problem's `meta`: how often training shows it where that is not 1."""

_ID_DIGITS: Final = 32
_NAME_DIGITS: Final = 12


@dataclass(frozen=True)
class Snapshot:
    """What a selection gives the next version: a data set to add (None where nothing is accepted), and ids to remove.

    removes: problems of the parent that hold something of a withdrawn interaction.
    """

    name: str | None
    problems: int
    chains: int
    removes: tuple[str, ...]

    @property
    def changes_anything(self) -> bool:
        """Whether the next version would differ from its parent."""
        return self.name is not None or bool(self.removes)


def write_snapshot(home: Home, selection: Selection, parent: str | None = None) -> Snapshot:
    """Register the accepted interactions. The same selection again changes nothing and has the same name.

    Args:
        parent: the version that the next one grows from; without one, nothing is listed to be removed.

    Raises:
        InvalidInputError: the name is taken by other problems.
        CorruptError: the parent is damaged.
    """
    pairs = [_pair(one) for one in selection.accepted]
    removes = withdrawn_problems(home, selection, parent) if parent is not None else ()
    if not pairs:
        return Snapshot(None, 0, 0, removes)
    content = hashlib.sha256("".join(map(normalised, pairs)).encode()).hexdigest()
    newest = max(one.evidence.interaction.kept_at_ms for one in selection.accepted)
    name = f"{FEEDBACK}{content[:_NAME_DIGITS]}"
    register_problems(
        home,
        name,
        pairs,
        # Not today's date: the same interactions are the same data set, whenever they are selected.
        created=datetime.fromtimestamp(newest // 1000, UTC),
        description=f"{len(pairs)} answers that users approved, and checks did not contradict",
    )
    chains = len(pairs) + sum(len(one.negatives) for one in selection.accepted)
    return Snapshot(name, len(pairs), chains, removes)


def withdrawn_problems(home: Home, selection: Selection, parent: str) -> tuple[str, ...]:
    """Ids of a version's problems that hold something of an interaction that may not be learned from any more.

    Deleted ones, and those whose owner opted out or whose workspace was excluded since.
    """
    gone = {*selection.withdrawn}
    gone |= {one.interaction_id for one in selection.refused if one.reason in ("opted_out", "workspace_excluded")}
    return tuple(sorted(problem_id for problem_id, ids in feedback_problems(home, parent).items() if gone & {*ids}))


def feedback_problems(home: Home, dataset: str) -> dict[str, tuple[str, ...]]:
    """The problems of a dataset version that came from feedback, each with its interactions.

    Raises:
        CorruptError: a part of the dataset is gone.
    """
    return {problem_id: tuple(meta.get(INTERACTIONS, ())) for problem_id, meta in _feedback_meta(home, dataset).items()}


def feedback_weights(home: Home, dataset: str) -> dict[str, float]:
    """The weights that operators gave to problems of a dataset version. A problem of weight 2 is shown twice as often
    in training as one that is not listed.

    Raises:
        CorruptError: a part of the dataset is gone.
    """
    return {
        problem_id: float(meta[WEIGHT]) for problem_id, meta in _feedback_meta(home, dataset).items() if WEIGHT in meta
    }


def _feedback_meta(home: Home, dataset: str) -> dict[str, dict[str, Any]]:
    import json

    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: dict[str, dict[str, Any]] = {}
    for path in part_paths(home, dataset, "problems"):
        mine = pc.starts_with(pc.field("problem_id"), FEEDBACK)
        rows = pq.read_table(path, columns=["problem_id", "meta"], filters=mine).to_pylist()
        found |= {row["problem_id"]: json.loads(row["meta"]) for row in rows}
    return found


def _pair(one: Chosen) -> WorkedProblem:
    content, interaction = one.evidence.content, one.evidence.interaction
    ids = sorted({interaction.interaction_id, *(chain.interaction_id for chain in one.negatives)})
    meta: dict[str, Any] = {INTERACTIONS: ids, "release": interaction.release_id, "reason": one.reason}
    if content.weight != 1:
        meta[WEIGHT] = content.weight
    if one.negatives:
        meta[WRONG_CHAINS] = [
            {"steps": list(chain.steps), "final_answer": chain.final_answer} for chain in one.negatives
        ]
    # The hash of everything that the problem holds: taken away and given again by others it is another problem, which
    # the deletion of the first one does not keep out.
    problem_id = FEEDBACK + sha256_json([ids, content.statement, content.steps, content.final_answer])[:_ID_DIGITS]
    problem = problem_of(content, problem_id).model_copy(
        update={
            "licence": f"consent:{interaction.consent}",
            "split": "validation" if split_by_hash(content.statement) == "validation" else "train",
            "meta": meta,
        }
    )
    return problem, ChainOfThought(
        cot_id=f"{problem_id}-gold",
        problem_id=problem_id,
        steps=[" ".join(step.split()) for step in content.steps],
        final_answer=content.final_answer,
        teacher_model=DOMAIN,
        source=DOMAIN,
    )
