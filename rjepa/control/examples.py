"""An operator's own examples for the next night: a problem with its solution, or with what the release makes of it.

They are kept, redacted, audited, selected and deleted as feedback is (`rjepa.feedback`). Callers let the release answer
themselves (`serving.answering`): a running service has it loaded, a command has not.
"""

from typing import Final, Literal

from pydantic import Field

from rjepa.control.place import Place
from rjepa.errors import InvalidInputError
from rjepa.feedback.examples import add_example, example_of
from rjepa.feedback.interactions import keep
from rjepa.feedback.records import Content, Decision, Interaction, Vote
from rjepa.feedback.reviews import review
from rjepa.feedback.votes import give_vote
from rjepa.labels import step_labels
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.question import Message
from rjepa.validation.answers import answer_key
from rjepa.values import FrozenValue

Weight = Literal[-1, 0, 1]
"""1: learn from it; 0: keep it for a review; -1: it is wrong. Training weighs examples alike: nothing is in between."""

LONGEST: Final = 20_000
"""Characters of a problem or a solution: ten times what a student reads at once."""

_DECISIONS: Final[dict[int, Decision]] = {1: "accept", 0: "skip", -1: "reject"}
_VOTES: Final[dict[int, Vote | None]] = {1: "up", 0: None, -1: "down"}


class AddedExample(FrozenValue):
    """What was kept. Whether a night learns from it, its selection decides: duplicates and held-out ones stay out."""

    id: str = Field(description="to look at it or delete it: GET and DELETE /v1/feedback/ID")
    chain: str = Field(description="the solution, redacted")
    written_by: Literal["operator", "release"]
    weight: Weight


def is_solution(target: str | None) -> bool:
    """Whether a target is more than an answer: it has several lines, or a step with its label. Otherwise the release
    has to answer.
    """
    return target is not None and ("\n" in target.strip() or bool(step_labels(target)))


def add_solution(place: Place, statement: str, solution: str, weight: Weight, who: str) -> AddedExample:
    """Keep a problem with an operator's solution.

    Raises:
        InvalidInputError: the problem is empty, or the solution has no steps or no answer.
        OptedOutError: who gives it opted out of feedback.
    """
    with place.open_database() as database:
        kept = add_example(database, statement, solution, who, place.llm_tag, _DECISIONS[weight])
    return _added(kept, "operator", weight)


def add_answered(
    place: Place, statement: str, target: str | None, answer: Answer, weight: Weight, who: str
) -> AddedExample:
    """Keep a problem with the release's answer to it.

    Args:
        target: the right answer, with which the release's is accepted; without one it is an answer that the operator
            voted on, and selected by the rules for votes.

    Raises:
        InvalidInputError: the release comes to another answer than `target`; nothing is kept.
        OptedOutError: who gives it opted out of feedback.
    """
    if target is not None and answer_key(answer.final_answer) != answer_key(target):
        raise InvalidInputError(
            f"release {answer.release_id} comes to {answer.final_answer or 'no answer'}, and not to {target[:100]}",
            cure='write the solution as target: "Step 1: ..." one line each, and "Answer: ..." last',
        )
    with place.open_database() as database:
        given = example_of(
            database,
            Content.of([Message(role="user", content=statement.strip())], answer),
            who,
            answer.llm_tag,
            release_id=answer.release_id,
            seed=answer.seed,
            p_correct=answer.p_correct,
        )
        kept = keep(database, given)
        if target is not None:
            review(database, kept.interaction_id, _DECISIONS[weight], who)
        elif (vote := _VOTES[weight]) is not None:
            give_vote(database, given, vote)
    return _added(kept, "release", weight)


def _added(kept: Interaction, written_by: Literal["operator", "release"], weight: Weight) -> AddedExample:
    text = "" if kept.content is None else kept.content.text
    return AddedExample(id=kept.interaction_id, chain=text, written_by=written_by, weight=weight)
