"""Gather what a decision on each interaction rests on: the vote, what the home knows, what a checker finds."""

from dataclasses import dataclass
from typing import Final

from rjepa.database import Database
from rjepa.errors import RjepaError
from rjepa.feedback.consent import excluded_workspaces, opted_out
from rjepa.feedback.interactions import list_interactions
from rjepa.feedback.known import DOMAIN, KnownProblem, find_known
from rjepa.feedback.records import Content, Interaction, Owner, Review, VoteRecord
from rjepa.feedback.reviews import list_reviews
from rjepa.feedback.votes import list_votes
from rjepa.home import Home
from rjepa.schemas import Problem, Verdict
from rjepa.validation.equations import count_right_equations, first_wrong_equation
from rjepa.validation.judge import PROBLEM_FAULTS, judge

_NO_CHECK: Final = PROBLEM_FAULTS | {"no_gold_answer", "unknown_check", "answer_timeout", "worker_died"}
"""Reasons of a verdict that says nothing of the answer."""


@dataclass(frozen=True)
class Evidence:
    """One interaction with all that a decision needs. `check` does not rest on anybody's vote.

    wrong_step: index of the first step with an equation that is surely wrong. right_equations: how many hold.
    chain_fault: why a dataset would not take the chain for valid even if its answer is right.
    """

    interaction: Interaction
    vote: VoteRecord | None = None
    review: Review | None = None
    known: KnownProblem | None = None
    check: Verdict | None = None
    wrong_step: int | None = None
    right_equations: int = 0
    chain_fault: str | None = None
    opted_out: bool = False
    excluded: bool = False

    @property
    def content(self) -> Content:
        """What was asked and answered.

        Raises:
            ValueError: it was deleted.
        """
        if self.interaction.content is None:
            raise ValueError(f"{self.interaction.interaction_id} is a tombstone")
        return self.interaction.content


def gather(home: Home, database: Database, parent: str | None = None) -> list[Evidence]:
    """The evidence on everything that is kept, tombstones included, oldest first.

    Args:
        parent: the dataset version that the next one is to grow from.

    Raises:
        CorruptError: a dataset of the home is damaged.
        StorageError: the database cannot be read.
    """
    kept = list_interactions(database)
    votes = {vote.interaction_id: vote for vote in list_votes(database)}
    reviews = list_reviews(database)
    with database.reading() as connection:
        out, excluded = opted_out(connection), excluded_workspaces(connection)
    asked = {
        one.interaction_id: one.content.statement
        for one in kept
        if one.content is not None and one.content.statement.strip()
    }
    known = dict(zip(asked, find_known(home, list(asked.values()), parent), strict=True))
    return [
        _weigh(
            one,
            votes.get(one.interaction_id),
            reviews.get(one.interaction_id),
            known.get(one.interaction_id),
            bool({one.owner, Owner(one.owner.client)} & out),
            one.workspace in excluded,
        )
        for one in kept
    ]


def problem_of(content: Content, problem_id: str) -> Problem:
    """The question as a problem whose gold answer is the answer's own."""
    return Problem(
        problem_id=problem_id,
        domain=DOMAIN,
        source=DOMAIN,
        statement=content.statement,
        answer_gold=content.final_answer,
    )


def _weigh(
    interaction: Interaction,
    vote: VoteRecord | None,
    review: Review | None,
    known: KnownProblem | None,
    is_out: bool,
    excluded: bool,
) -> Evidence:
    content = interaction.content
    if content is None:
        return Evidence(interaction, vote, review)
    steps = list(content.steps)
    check = None
    if known is not None and known.problem is not None and not known.from_feedback and not content.is_conversation:
        check = _check(known.problem, steps, content.final_answer)
    fault = None
    if steps and content.final_answer:
        own = judge(problem_of(content, "asked"), steps, content.final_answer) if content.statement.strip() else None
        fault = "no_statement" if own is None else None if own.is_valid else own.reason
    return Evidence(
        interaction=interaction,
        vote=vote,
        review=review,
        known=known,
        check=check,
        wrong_step=first_wrong_equation(steps),
        right_equations=count_right_equations(steps),
        chain_fault=fault,
        opted_out=is_out,
        excluded=excluded,
    )


def _check(problem: Problem, steps: list[str], answer: str | None) -> Verdict | None:
    """What the problem's own checker says; None where it says nothing, or cannot be run on this machine."""
    try:
        verdict = judge(problem, steps, answer)
    except RjepaError:
        return None
    return None if verdict.reason in _NO_CHECK else verdict
