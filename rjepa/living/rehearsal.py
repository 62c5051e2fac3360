"""Rehearse a release: what would it have answered to the questions that users asked and let us keep?

The stored candidates of each answer are ranked again, by the release that chose then and by the one that is
rehearsed. The student reads their words (a forward pass, for latents and log-probabilities) and writes nothing: no
call to generate.

What is exact and what is not. Among the candidates that were written then, the choice is the one that the rehearsed
release would have made: provided that reading gives what writing gave. It does not where words were redacted, where a
text is cut into other tokens than it was written in, and where the last bit of a batch of another size decides a tie.
So the release that chose then chooses again as well; only where it comes to the same candidate is the comparison
counted. What a release would make of candidates that it had written itself, in a mode that acts while they are
written, nobody can say without writing them: such answers are left out, and counted.

Counts may be kept; words stay in the database, where deletion reaches them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from pydantic import Field

from rjepa.database import Database
from rjepa.feedback.consent import excluded_workspaces, opted_out
from rjepa.feedback.interactions import list_interactions
from rjepa.feedback.records import Content, Interaction, Vote
from rjepa.feedback.votes import list_votes
from rjepa.inference.ranking import Ranking, explain
from rjepa.inference.scoring import segment_energies
from rjepa.inference.table import CandidateTable
from rjepa.living.defaults import REHEARSED_ANSWERS
from rjepa.progress import Progress, silent
from rjepa.reasoning.candidates import join_latents, make_candidates
from rjepa.reasoning.tools import Parts
from rjepa.sampling.protocol import Capability, ChainSource, require
from rjepa.students.sampled import SampledChain
from rjepa.values import FrozenValue

_MODE: Final = "rerank"
"""The mode whose choice is among whole candidates."""


class Rehearsed(FrozenValue):
    """One stored answer, and what the rehearsed release would have chosen among the same candidates."""

    interaction_id: str
    release: str = Field(description="that answered")
    vote: Vote | None
    answer: str | None = Field(description="final answer that was given")
    other: str | None = Field(description="and that would have been given")
    same_candidate: bool
    p_correct: float | None
    other_p_correct: float | None

    @property
    def changes(self) -> bool:
        """Whether users would have got another answer; the same one by another chain is no change."""
        return self.answer != self.other


class Rehearsal(FrozenValue):
    """What a release would have changed. Every interaction of the LLM is in `rehearsed`, or left out for a reason."""

    llm_tag: str
    release: str
    rehearsed: tuple[Rehearsed, ...]
    not_reproduced: int = Field(description="read again, the release of then chooses another candidate: not counted")
    left_out: dict[str, int]

    def metadata(self) -> dict[str, int | float | str]:
        """Counts alone."""
        changed = [row for row in self.rehearsed if row.changes]
        chances = [
            (row.p_correct, row.other_p_correct)
            for row in self.rehearsed
            if row.p_correct is not None and row.other_p_correct is not None
        ]
        figures: dict[str, int | float | str] = {
            "release": self.release,
            "rehearsed": len(self.rehearsed),
            "not_reproduced": self.not_reproduced,
            "answers_changed": len(changed),
            "changed_thumbs_up": sum(row.vote == "up" for row in changed),
            "changed_thumbs_down": sum(row.vote == "down" for row in changed),
            "other_chain_same_answer": sum(not row.same_candidate and not row.changes for row in self.rehearsed),
        }
        if chances:
            before, after = np.mean(chances, axis=0)
            figures |= {"p_correct_before": float(before), "p_correct_after": float(after)}
        return figures | {f"left_out_{reason}": count for reason, count in sorted(self.left_out.items())}


def rehearse(
    database: Database,
    source: ChainSource,
    release: Parts,
    parts_of: Callable[[str], Parts | None],
    *,
    most: int = REHEARSED_ANSWERS,
    progress: Progress = silent,
) -> Rehearsal:
    """Rank the stored candidates of an LLM's interactions again.

    Args:
        source: the student; it only reads.
        release: what is rehearsed.
        parts_of: opens the release that answered then; None where it is gone or belongs to another student.

    Raises:
        InvalidInputError: the student gives no hidden states.
    """
    require(source, Capability.STATES, "rehearse")
    kept = [one for one in reversed(list_interactions(database)) if one.llm_tag == release.llm_tag]
    votes = {vote.interaction_id: vote.vote for vote in list_votes(database)}
    with database.reading() as connection:
        out, excluded = opted_out(connection), excluded_workspaces(connection)
    rehearsed: list[Rehearsed] = []
    left_out: Counter[str] = Counter()
    not_reproduced = 0
    for number, interaction in enumerate(kept):
        progress(number, len(kept))
        content = interaction.content
        allowed = interaction.workspace not in excluded and not any(owner.owns(interaction.owner) for owner in out)
        reason = _why_not(interaction) if allowed else "no_consent"
        then = parts_of(interaction.release_id) if reason is None else None
        if reason is None and then is None:
            reason = "release_gone"
        if reason is None and len(rehearsed) + not_reproduced >= most:
            reason = "older"
        if reason is not None or content is None or then is None:
            left_out[str(reason)] += 1
            continue
        found = _rehearse_one(source, then, release, interaction, content, votes.get(interaction.interaction_id))
        if found is None:
            not_reproduced += 1
        else:
            rehearsed.append(found)
    progress(len(kept), len(kept))
    return Rehearsal(
        llm_tag=release.llm_tag,
        release=release.release_id,
        rehearsed=tuple(rehearsed),
        not_reproduced=not_reproduced,
        left_out=dict(left_out),
    )


def _why_not(interaction: Interaction) -> str | None:
    """Why an interaction cannot be rehearsed exactly; None where it can."""
    content = interaction.content
    if content is None:
        return "deleted"
    if interaction.mode != _MODE:
        return "mode"
    if any(interaction.redactions.values()):
        return "redacted"
    if [message.role for message in content.messages] != ["user"]:
        return "conversation"
    texts = [candidate.text for candidate in content.candidates]
    if len(texts) < 2 or not all(text.strip() for text in texts):
        return "candidates"
    return None


def _rehearse_one(
    source: ChainSource, then: Parts, release: Parts, interaction: Interaction, content: Content, vote: Vote | None
) -> Rehearsed | None:
    """None where the release of then does not come to the candidate that it had chosen."""
    texts = [candidate.text for candidate in content.candidates]
    chains = source.reader.chains([content.statement] * len(texts), texts)
    old, new = _rank(then, chains), _rank(release, chains)
    chosen = next((candidate.text for candidate in content.candidates if candidate.chosen), None)
    # Candidates often have the same words: which of them is chosen is no difference.
    if texts[old.chosen] != chosen:
        return None
    answers = [candidate.final_answer for candidate in content.candidates]
    return Rehearsed(
        interaction_id=interaction.interaction_id,
        release=interaction.release_id,
        vote=vote,
        answer=answers[old.chosen],
        other=answers[new.chosen],
        same_candidate=texts[old.chosen] == texts[new.chosen],
        p_correct=old.standings[old.chosen].p_correct,
        other_p_correct=new.standings[new.chosen].p_correct,
    )


def _rank(parts: Parts, chains: Sequence[SampledChain]) -> Ranking:
    candidates = make_candidates(chains)
    table = CandidateTable.of_question(candidates, segment_energies(parts.model, parts.reader, join_latents(chains)))
    return explain(table, parts.calibration.decide(table), [one.final_answer for one in candidates])
