"""Answers as the service gives them, and evidence on them, for tests of what becomes of feedback."""

import itertools
from typing import Any

from rjepa.feedback.evidence import Evidence
from rjepa.feedback.records import Content, Given, Interaction, Owner, Vote, VoteRecord
from rjepa.reasoning.question import Message
from tests.candidates import report_candidate

STEPS = ("Ana has 21 + 4 = 25 shells", "Ben has 25 - 7 = 18 shells")
WRONG = ("Ana has 21 + 4 = 26 shells", "Ben has 26 - 7 = 19 shells")
_NUMBERS = itertools.count(1)


def content(
    statement: str,
    steps: tuple[str, ...] = STEPS,
    answer: str | None = "18",
    wrong: tuple[tuple[str, ...], ...] = (),
    **more: Any,
) -> Content:
    """What was asked and answered; `wrong` are other candidates' steps."""
    candidates = [
        report_candidate(index, list(chain), text=_lines(chain), final_answer=str(18 + index))
        for index, chain in enumerate((steps, *wrong))
    ]
    values = {
        "messages": (Message(role="user", content=statement),),
        "text": f"{_lines(steps)}Answer: {answer}\n",
        "steps": steps,
        "final_answer": answer,
        "finished": True,
        "candidates": candidates if wrong else [],
    }
    return Content(**values | more)


def given(statement: str, owner: Owner | None = None, *, p: float | None = 0.9, **more: Any) -> Given:
    number = next(_NUMBERS)
    return Given(
        interaction_id=f"chatcmpl-{number:032x}",
        owner=owner or Owner("key:aaaaaaaaaaaa"),
        llm_tag="tiny-a",
        release_id="20260101T000000Z-0123456789ab",
        mode="rerank",
        seed=number,
        p_correct=p,
        answered_at_ms=1_760_000_000_000 + number,
        content=content(statement, **more),
    )


def evidence(
    statement: str, vote: Vote | None = "up", owner: Owner | None = None, *, p: float | None = 0.9, **more: Any
) -> Evidence:
    """Evidence on an answer, as `gather` makes it; `more` are its other fields, and those of `content`."""
    of_evidence = {name: more.pop(name) for name in list(more) if name in Evidence.__dataclass_fields__}
    voted_at_ms = more.pop("voted_at_ms", None)
    one = given(statement, owner, p=p, **more)
    moment = one.answered_at_ms if voted_at_ms is None else voted_at_ms
    record = VoteRecord(one.interaction_id, one.owner, "tiny-a", one.release_id, one.mode, vote, None, moment)
    kept = Interaction(
        **{name: value for name, value in vars(one).items()},
        workspace="default",
        kept_at_ms=one.answered_at_ms,
        consent="words",
        redactions={},
        deleted_at_ms=None,
    )
    return Evidence(**{"interaction": kept, "vote": record if vote else None, "right_equations": 2} | of_evidence)


def _lines(steps: tuple[str, ...]) -> str:
    return "".join(f"Step {number}: {step}\n" for number, step in enumerate(steps, 1))
