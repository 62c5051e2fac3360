"""Examples that an operator gives: a problem with its solution, learned from like an answer that was approved."""

import uuid

from rjepa.chains import parse_chain
from rjepa.database import Database
from rjepa.errors import InvalidInputError
from rjepa.feedback.interactions import keep
from rjepa.feedback.records import Content, Given, Interaction, Owner
from rjepa.feedback.reviews import review
from rjepa.reasoning.question import Message

EXAMPLE = "example"
"""In place of a mode: nobody answered."""


def add_example(database: Database, statement: str, solution: str, who: str, llm_tag: str) -> Interaction:
    """Keep an example, accepted by who gives it. What is held out or known already is refused at selection, as always.

    Args:
        solution: numbered steps and an answer line, as a student writes them.

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
    )
    with database.reading() as connection:
        now_ms = database.now_ms(connection)
    given = Given(
        interaction_id=f"{EXAMPLE}_{uuid.uuid4().hex}",
        owner=Owner(who),
        llm_tag=llm_tag,
        release_id="",
        mode=EXAMPLE,
        seed=0,
        p_correct=None,
        answered_at_ms=now_ms,
        content=content,
    )
    kept = keep(database, given)
    review(database, kept.interaction_id, "accept", who)
    return kept
