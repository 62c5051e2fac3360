"""The monitor: its page, what it shows as HTML and as JSON, and the two things that an operator can do from it.

What is shown is gathered in `rjepa.monitoring`; the page itself holds nothing that a key guards.
"""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from rjepa.home import Home
from rjepa.monitoring.alerts import LoadFailure
from rjepa.monitoring.making import make_dataset
from rjepa.monitoring.releases import read_releases
from rjepa.monitoring.snapshot import Snapshot, take_snapshot
from rjepa.releases.pointer import ReleaseMovedError, current_release, rollback
from serving.access import may
from serving.charts import accuracy_over_releases, energies_by_domain
from serving.figures import Figures
from serving.host import EngineHost
from serving.pages import language_of, render_page, templates, words
from serving.settings import ServiceSettings

_SHOWN_MOVES: Final = 12
_SHOWN_BEFORE: Final = 3
"""Moves that the chat page tells of where the week had none."""

router = APIRouter()

Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RollBack(_Body):
    """Serve another release. `served` is what the page showed as served: a page that is out of date changes nothing."""

    to: Name | None = Field(None, description="left out: the release that the served one replaced")
    served: Name | None


class NewDataset(_Body):
    """Make a dataset: a new version that grows from `parent` by `add`, or one that has a recipe already."""

    name: Name
    parent: Name | None = None
    add: list[Name] = Field(default_factory=list, max_length=16)


@router.get("/monitor", include_in_schema=False)
async def monitor_page(request: Request) -> HTMLResponse:
    """The monitor's page. What it shows comes from /v1/monitor/sections."""
    return render_page(request, "monitor")


@router.get("/v1/monitor/state")
async def state(request: Request) -> Snapshot:
    """Everything that the monitor shows."""
    return await _snapshot(request)


@router.get("/v1/monitor/sections", include_in_schema=False)
async def sections(request: Request) -> HTMLResponse:
    """The same as HTML, in the page's language."""
    snapshot = await _snapshot(request)
    served = snapshot.releases.served
    return fragment(
        request,
        "sections",
        state=snapshot,
        served=served,
        moves=snapshot.releases.moves[:_SHOWN_MOVES],
        may_act=may(request.state.principal.role, "operator"),
        accuracy=accuracy_over_releases(snapshot.releases.releases),
        energies=None if served is None else energies_by_domain(served.step_energies),
    )


@router.get("/v1/monitor/changes", include_in_schema=False)
async def changes(request: Request) -> HTMLResponse:
    """How what is served changed in the last week, as HTML for the chat page."""
    home, llm_tag = _place(request)
    found = await asyncio.to_thread(read_releases, home, llm_tag)
    week = found.moves_of_the_week()
    return fragment(request, "changes", moves=week, before=() if week else found.moves[:_SHOWN_BEFORE])


@router.post("/v1/monitor/rollback")
async def roll_back(body: RollBack, request: Request) -> dict[str, str]:
    """Serve another release, at once and without the gate: an operator's decision, which the history keeps."""
    home, llm_tag = _place(request)
    current = await asyncio.to_thread(current_release, home, llm_tag)
    if current != body.served:
        raise ReleaseMovedError(
            f"release {current} is served by now, not {body.served}", cure="look at what is served now, then decide"
        )
    reason = "from the monitor"
    served = await asyncio.to_thread(rollback, home, llm_tag, body.to, reason=reason, leaving=body.served)
    return {"release": served}


@router.post("/v1/monitor/datasets")
async def create_dataset(body: NewDataset, request: Request) -> dict[str, str]:
    """Write down what a dataset is, and let Dagster make it."""
    home, _ = _place(request)
    run = await asyncio.to_thread(make_dataset, home, _dagster(request), body.name, body.parent, tuple(body.add))
    return {"dataset": body.name, "run": run}


async def _snapshot(request: Request) -> Snapshot:
    host: EngineHost = request.app.state.host
    error = host.state.error
    failure = None if error is None else LoadFailure(problem=error.problem, cure=error.cure)
    home, llm_tag = _place(request)
    return await asyncio.to_thread(take_snapshot, home, llm_tag, _dagster(request), failure)


def fragment(request: Request, name: str, **values: Any) -> HTMLResponse:
    """A part of the monitor as HTML, in the page's language."""
    language = language_of(request)
    known = words(language)
    text = (
        templates()
        .get_template(f"{name}.html")
        .render(words=known["monitor"], shared=known["shared"], chat=known["chat"], figures=Figures(language), **values)
    )
    return HTMLResponse(text, headers={"content-language": language})


def _place(request: Request) -> tuple[Home, str]:
    settings: ServiceSettings = request.app.state.settings
    return Home(settings.home), settings.llm


def _dagster(request: Request) -> str:
    settings: ServiceSettings = request.app.state.settings
    return settings.dagster_address
