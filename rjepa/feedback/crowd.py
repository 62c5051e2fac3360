"""What many interactions say together: votes that contradict each other, voters who are often wrong, floods, copies."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rjepa.datasets.leaks import NEAR
from rjepa.datasets.novelty import near_each_other
from rjepa.datasets.statements import fingerprint
from rjepa.feedback.evidence import Evidence
from rjepa.feedback.known import as_problems, as_texts
from rjepa.feedback.records import Owner, Vote
from rjepa.problems.splitting import statement_key
from rjepa.validation.answers import answer_key

_HOUR_MS: Final = 3_600_000

Claim = tuple[str, str]
"""That a question has an answer: the key of each, equal for other words of the same."""


@dataclass(frozen=True)
class Crowd:
    """Sums over all interactions that a decision on one of them may need."""

    voters: dict[Claim, dict[Vote, frozenset[Owner]]]
    approved: dict[str, frozenset[str]]
    untrusted: frozenset[Owner]
    flooded: frozenset[str]

    @classmethod
    def of(
        cls, evidence: Sequence[Evidence], flood_per_hour: int, min_contradictions: int, max_contradicted: float
    ) -> "Crowd":
        """Sum up interactions that have content."""
        voters: dict[Claim, dict[Vote, set[Owner]]] = defaultdict(lambda: {"up": set(), "down": set()})
        approved: dict[str, set[str]] = defaultdict(set)
        for one in evidence:
            if one.vote is None or one.vote.vote is None:
                continue
            question, answer = _claim(one)
            voters[question, answer][one.vote.vote].add(one.vote.owner)
            if one.vote.vote == "up":
                approved[question].add(answer)
        return cls(
            {claim: {vote: frozenset(who) for vote, who in both.items()} for claim, both in voters.items()},
            {question: frozenset(answers) for question, answers in approved.items()},
            frozenset(_untrusted(evidence, min_contradictions, max_contradicted)),
            frozenset(_flooded(evidence, flood_per_hour)),
        )

    def is_contradicted(self, one: Evidence) -> bool:
        """Whether another owner voted against the same answer to the same question."""
        return bool(self.voters.get(_claim(one), {}).get("down"))

    def has_rivals(self, one: Evidence) -> bool:
        """Whether another answer to the same question was approved too."""
        question, answer = _claim(one)
        return bool(self.approved.get(question, frozenset()) - {answer})

    def is_untrusted(self, one: Evidence) -> bool:
        """Whether checks contradict its voter too often."""
        return one.vote is not None and one.vote.owner in self.untrusted

    def is_flood(self, one: Evidence) -> bool:
        """Whether its vote came in an hour with too many of the same key."""
        return one.interaction.interaction_id in self.flooded


def near_duplicates(statements: Sequence[str]) -> dict[int, float]:
    """Places of statements that say the same (1.0) or nearly the same as an earlier one that stays."""
    first: dict[str, int] = {}
    repeated: dict[int, float] = {}
    for place, statement in enumerate(statements):
        if first.setdefault(statement_key(statement), place) != place:
            repeated[place] = 1.0
    prints = fingerprint(as_problems(statements))
    return repeated | {
        later: alike for later, _, alike in near_each_other(as_texts(statements), prints, repeated, NEAR)
    }


def _claim(one: Evidence) -> Claim:
    content = one.content
    return statement_key(content.statement), answer_key(content.final_answer) or ""


def _untrusted(evidence: Sequence[Evidence], least: int, share: float) -> set[Owner]:
    """Owners whose votes automatic checks contradict often, whatever else was decided of them."""
    checked: Counter[Owner] = Counter()
    wrong: Counter[Owner] = Counter()
    for one in evidence:
        truth = False if one.wrong_step is not None else one.check.is_valid if one.check is not None else None
        if truth is None or one.vote is None or one.vote.vote is None:
            continue
        checked[one.vote.owner] += 1
        wrong[one.vote.owner] += (one.vote.vote == "up") != truth
    return {owner for owner, times in wrong.items() if times >= least and times >= share * checked[owner]}


def _flooded(evidence: Sequence[Evidence], most: int) -> set[str]:
    """Interactions whose votes lie in an hour with more than `most` votes of one client."""
    by_client: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for one in evidence:
        if one.vote is not None and one.vote.vote is not None:
            by_client[one.vote.owner.client].append((one.vote.voted_at_ms, one.interaction.interaction_id))
    found: set[str] = set()
    for votes in by_client.values():
        votes.sort()
        first = marked = 0
        for last in range(len(votes)):
            while votes[last][0] - votes[first][0] >= _HOUR_MS:
                first += 1
            if last - first + 1 > most:
                found |= {interaction_id for _, interaction_id in votes[max(first, marked) : last + 1]}
                marked = last + 1
    return found
