"""An operator's own examples for the next night: a problem with its solution, or with the release's answer.

They are kept, redacted, audited, selected and deleted as feedback is (`rjepa.feedback`); here stands what an operator's
words decide. The caller has the release answer: a running service has it loaded, a command has not.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from rjepa.control.place import Place
from rjepa.errors import InvalidInputError
from rjepa.feedback.examples import add_example, example_of
from rjepa.feedback.interactions import keep
from rjepa.feedback.records import Content, Decision, Interaction
from rjepa.feedback.reviews import review
from rjepa.feedback.votes import give_vote
from rjepa.labels import step_labels
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.question import Message
from rjepa.validation.answers import answer_key
from rjepa.values import FrozenValue

Weight = Annotated[
    float,
    Field(
        ge=-1,
        le=10,
        description="above 0: learn from it, and show it so many times as often as another new example; "
        "0: keep it for a review; below 0: it is wrong",
    ),
]
"""At most 10: what is shown more often is learnt by heart."""

LONGEST: Final = 20_000
"""Characters of a problem or a solution: ten times what a student reads at once."""


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
        kept = add_example(
            database, statement, solution, who, place.llm_tag, _decision(weight), _training_weight(weight)
        )
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
    content = Content.of([Message(role="user", content=statement.strip())], answer)
    content = content.model_copy(update={"weight": _training_weight(weight)})
    with place.open_database() as database:
        given = example_of(
            database,
            content,
            who,
            answer.llm_tag,
            release_id=answer.release_id,
            seed=answer.seed,
            p_correct=answer.p_correct,
        )
        kept = keep(database, given)
        if target is not None:
            review(database, kept.interaction_id, _decision(weight), who)
        elif weight != 0:
            give_vote(database, given, "up" if weight > 0 else "down")
    return _added(kept, "release", weight)


def _decision(weight: float) -> Decision:
    if weight == 0:
        return "skip"
    return "accept" if weight > 0 else "reject"


def _training_weight(weight: float) -> float:
    """What is not given to be learned from has the usual one, should somebody accept it later."""
    return weight if weight > 0 else 1.0


def _added(kept: Interaction, written_by: Literal["operator", "release"], weight: Weight) -> AddedExample:
    text = "" if kept.content is None else kept.content.text
    return AddedExample(id=kept.interaction_id, chain=text, written_by=written_by, weight=weight)
