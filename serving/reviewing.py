"""Feedback on the monitor: the funnel for everyone who may look, the queue and its decisions for operators.

`rjepa.feedback.selection` has the rules. To select takes seconds where much is kept, so that it is done once for each
state of the database, however many pages ask.
"""

import threading
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from rjepa.database import Database
from rjepa.feedback.decisions import Selection
from rjepa.feedback.evidence import gather
from rjepa.feedback.records import Decision
from rjepa.feedback.reviews import review
from rjepa.feedback.selection import select
from rjepa.feedback.tables import ID_LENGTH
from rjepa.home import Home
from rjepa.living.night import growing_from
from rjepa.living.watching import feedback_state
from serving.access import may
from serving.context import current_request
from serving.given import desk_of
from serving.monitor import fragment

SHOWN: Final = 20
"""Interactions of the queue that are shown at a time: each is read by a person."""

_REST: Final = 20
"""A selection stands for so many times as long as it took, whatever changes: answers share this process's time."""

router = APIRouter()


class Reviewed(BaseModel):
    """What an operator decides of one interaction."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1, max_length=ID_LENGTH)]
    decision: Decision


class Selecting:
    """The selection of what is kept now, made anew when something of it changed."""

    def __init__(self, home: Home, llm_tag: str) -> None:
        self._home, self._llm_tag = home, llm_tag
        self._known: tuple[str, Selection] | None = None
        self._stands_until = 0.0
        self._lock = threading.Lock()

    def now(self, database: Database) -> Selection:
        """The selection as a night would make it.

        Raises:
            CorruptError: a dataset is damaged.
        """
        with self._lock:
            if self._known is not None and time.monotonic() < self._stands_until:
                return self._known[1]
            state = feedback_state(self._home, database, self._llm_tag)
            if self._known is None or self._known[0] != state:
                began = time.monotonic()
                selection = select(gather(self._home, database, growing_from(self._home, self._llm_tag)))
                self._known = state, selection
                self._stands_until = time.monotonic() + _REST * (time.monotonic() - began)
            return self._known[1]

    def forget(self) -> None:
        """Select anew the next time: an operator decided something, and wants to see it."""
        self._stands_until = 0.0


@router.get("/v1/monitor/feedback")
async def funnel(request: Request) -> dict[str, Any]:
    """How many interactions are kept, and how many went which way for which reason. No words of anybody."""
    selection = await _selection(request)
    return {"object": "feedback_funnel", **selection.funnel.figures(), "selection": selection.sha256}


@router.get("/v1/monitor/review")
async def queue(request: Request) -> dict[str, Any]:
    """What waits for a person, with its words: for operators."""
    waiting = (await _selection(request)).review
    data = [
        {
            "id": one.interaction_id,
            "reason": one.reason,
            "vote": one.evidence.vote.vote if one.evidence.vote is not None else None,
            "comment": one.evidence.vote.comment if one.evidence.vote is not None else None,
            "p_correct": one.evidence.interaction.p_correct,
            "content": one.evidence.content.model_dump(mode="json"),
        }
        for one in waiting[:SHOWN]
    ]
    return {"object": "list", "data": data, "has_more": len(waiting) > SHOWN}


@router.get("/v1/monitor/feedback/section", include_in_schema=False)
async def section(request: Request) -> HTMLResponse:
    """The same as HTML, in the page's language."""
    selection = await _selection(request)
    waiting = selection.review if may(request.state.principal.role, "operator") else ()
    shown = waiting[:SHOWN]
    return fragment(request, "feedback", funnel=selection.funnel, waiting=shown, in_all=len(waiting))


@router.post("/v1/monitor/review")
async def decide(body: Reviewed, request: Request) -> dict[str, str]:
    """Accept an interaction, reject it, or leave it to another."""
    who = current_request().client
    made = await desk_of(request).run(lambda database: review(database, body.id, body.decision, who))
    _selecting(request).forget()
    return {"id": made.interaction_id, "decision": made.decision}


async def _selection(request: Request) -> Selection:
    return await desk_of(request).run(_selecting(request).now)


def _selecting(request: Request) -> Selecting:
    selecting: Selecting = request.app.state.selecting
    return selecting
