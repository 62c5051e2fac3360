"""Examples that an operator gives: a problem with its solution, kept and selected as users' answers are."""

import uuid
from typing import Final

from rjepa.chains import parse_chain
from rjepa.database import Database
from rjepa.errors import InvalidInputError
from rjepa.feedback.interactions import keep
from rjepa.feedback.records import Content, Decision, Given, Interaction, Owner
from rjepa.feedback.reviews import review
from rjepa.reasoning.question import Message

EXAMPLE: Final = "example"
"""The mode of an example, and how its id begins: no user asked for it."""


def add_example(
    database: Database,
    statement: str,
    solution: str,
    who: str,
    llm_tag: str,
    decision: Decision = "accept",
    weight: float = 1.0,
) -> Interaction:
    """Keep an example with the decision of who gives it. What is held out or known already is refused at selection, as
    always.

    Args:
        solution: numbered steps and an answer line, as a student writes them.
        weight: how often training shows it, another new chain once; above 0.

    Raises:
        InvalidInputError: no statement, or a solution without a step or an answer.
        OptedOutError: who gives it opted out of feedback.
    """
    chain = parse_chain(solution)
    if not statement.strip() or not chain.steps or not (chain.final_answer or "").strip():
        raise InvalidInputError(
            "an example is a problem with a solution that has steps and an answer",
            cure='write the solution as "Step 1: ...", one line each, and "Answer: ..." last',
        )
    content = Content(
        messages=(Message(role="user", content=statement.strip()),),
        text=solution,
        steps=tuple(chain.steps),
        final_answer=chain.final_answer,
        finished=True,
        weight=weight,
    )
    kept = keep(database, example_of(database, content, who, llm_tag))
    review(database, kept.interaction_id, decision, who)
    return kept


def example_of(
    database: Database,
    content: Content,
    who: str,
    llm_tag: str,
    *,
    release_id: str = "",
    seed: int = 0,
    p_correct: float | None = None,
) -> Given:
    """A problem with its solution as an answer that is given now, under an id of its own. The release, its seed and
    P(correct) are those of the answer, where a release wrote the solution.
    """
    with database.reading() as connection:
        now_ms = database.now_ms(connection)
    return Given(
        interaction_id=f"{EXAMPLE}_{uuid.uuid4().hex}",
        owner=Owner(who),
        llm_tag=llm_tag,
        release_id=release_id,
        mode=EXAMPLE,
        seed=seed,
        p_correct=p_correct,
        answered_at_ms=now_ms,
        content=content,
    )
