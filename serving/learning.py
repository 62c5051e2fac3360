"""The routes of learning control, /v1/learning/*: a viewer looks, an operator changes. Nothing here trains.

What they say and do is `rjepa.control`, which the MCP tools (`serving.tools`) and `rjepa living` share.
"""

import asyncio
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from rjepa.control.acting import Changed, NightBegun, begin_night, change, disable, enable, reset
from rjepa.control.examples import LONGEST, AddedExample, Weight
from rjepa.control.figures import LearningFigures, read_figures
from rjepa.control.live import LearningHealth, read_health
from rjepa.control.place import Place
from rjepa.control.state import LearningConfig, LearningStatus, read_config, read_status
from rjepa.errors import InvalidInputError
from rjepa.living.settings import LONGEST_REASON
from rjepa.values import FrozenValue, Words
from serving.access import may
from serving.answering import add_training_example, through_host
from serving.monitor import fragment
from serving.quality import QualityFigures

router = APIRouter(prefix="/v1/learning", tags=["learning"])

_MOST_EXAMPLES: Final = 100
"""A day's work of a person; more is a data set: rjepa data add."""

Text = Annotated[Words, StringConstraints(min_length=1, max_length=LONGEST)]

Reason = Annotated[str, StringConstraints(max_length=LONGEST_REASON)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Learn(_Body):
    """Begin a night now."""


class ExampleBody(_Body):
    """A problem with what is right."""

    input: Text = Field(description="the problem")
    target: Text | None = Field(
        None,
        description="the solution in steps, or the right answer alone: then the release has to come to it; none: the "
        "release answers, and its answer is selected as one that the operator voted on",
    )
    weight: Weight = 1.0


class ManualBody(_Body):
    """An operator's own examples, and perhaps a night at once."""

    examples: list[ExampleBody] = Field(min_length=1, max_length=_MOST_EXAMPLES)
    learn: StrictBool = Field(False, description="whether to begin a night afterwards")


class ManualReply(FrozenValue):
    """What was kept, in the order of the request."""

    examples: tuple[AddedExample, ...]
    night: NightBegun | None


class ControlBody(_Body):
    """Turn learning on or off, change settings, or give every setting its default."""

    action: Literal["enable", "disable", "set", "reset"]
    settings: dict[str, Any] | None = Field(
        None, description="with action `set` alone: values by name, as GET /v1/learning/config lists them"
    )
    reason: Reason = Field("", description="is kept with the change")


class MetricsReply(LearningFigures):
    """Figures of the home, and of this process since it started."""

    process: QualityFigures


class HealthReply(LearningHealth):
    """What the windows of all processes say, and what this one has seen that is in none yet."""

    process: QualityFigures


@router.get("/status")
async def status(request: Request) -> LearningStatus:
    """Whether learning is on, what the last night came to and why, when the next one is, and what is missing to it."""
    return await asyncio.to_thread(read_status, _place(request))


@router.get("/section", include_in_schema=False)
async def section(request: Request) -> HTMLResponse:
    """The same as HTML for the monitor, in the page's language."""
    found = await asyncio.to_thread(read_status, _place(request))
    return fragment(request, "learning", status=found, may_act=may(request.state.principal.role, "operator"))


@router.get("/metrics")
async def metrics(request: Request) -> MetricsReply:
    """Nights and what they came to, feedback, how good each release was found to be, and answers of late."""
    found = await asyncio.to_thread(read_figures, _place(request))
    return MetricsReply(**dict(found), process=request.app.state.quality.figures())


@router.get("/health")
async def health(request: Request) -> HealthReply:
    """How the answers of the last hour and day did, release by release: errors, energies, votes."""
    found = await asyncio.to_thread(read_health, _place(request))
    return HealthReply(**dict(found), process=request.app.state.quality.figures())


@router.get("/config")
async def config(request: Request) -> LearningConfig:
    """Every setting with its limits, and who changed what last."""
    return await asyncio.to_thread(read_config, _place(request))


@router.post("/control")
async def control(body: ControlBody, request: Request) -> Changed:
    """Enable, disable, set or reset. The change is recorded; Dagster's sensor and schedule follow `enabled`."""
    if (body.action == "set") != (body.settings is not None):
        raise InvalidInputError(
            "settings go with the action `set`, and with no other",
            cure='send {"action": "set", "settings": {"min_interactions": 10}}, or the action alone',
        )
    place, who = _place(request), request.state.principal.client
    if body.settings is not None:
        return await asyncio.to_thread(change, place, body.settings, who=who, reason=body.reason)
    act = {"enable": enable, "disable": disable, "reset": reset}[body.action]
    return await asyncio.to_thread(act, place, who=who, reason=body.reason)


@router.post("/learn")
async def learn(request: Request, body: Learn | None = None) -> NightBegun:
    """Let Dagster run a night now. Its limits hold: where one refuses, the run says which, and so does the status."""
    return await asyncio.to_thread(begin_night, _place(request))


@router.post("/manual")
async def manual(body: ManualBody, request: Request) -> ManualReply:
    """Keep examples for the next night, in order: at the first that does not fit, those before it are kept."""
    place, answers = _place(request), through_host(request.app.state.host)
    who, added = request.state.principal.client, []
    for example in body.examples:
        kept = await add_training_example(place, answers, example.input, example.target, example.weight, who)
        added.append(kept)
    night = await asyncio.to_thread(begin_night, place) if body.learn else None
    return ManualReply(examples=tuple(added), night=night)


def _place(request: Request) -> Place:
    return Place.of(request.app.state.settings)
