"""The routes of LoRA serving, /v1/lora: an operator looks, names the set that is served, takes one out.

LoRAs are named and never given by path: they lie in the home, where `rjepa lora` puts them. What happens then is
`serving.loras`'s.
"""

import asyncio
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from rjepa.living.lora_health import LoraHealth
from rjepa.living.served_loras import LoraMove
from rjepa.living.settings import LONGEST_REASON
from rjepa.moments import to_iso
from rjepa.releases.student_gate import StudentDecision
from rjepa.students.lora.files import list_loras
from rjepa.values import FrozenValue
from serving.access import may
from serving.loras import LoadedLoras
from serving.monitor import fragment

router = APIRouter(prefix="/v1/lora", tags=["lora"])

_MOST_NAMES: Final = 64

LoraId = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Reload(BaseModel):
    """The LoRAs that are served from now on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adapter_ids: list[LoraId] = Field(max_length=_MOST_NAMES, description="all of them; an empty list serves the base")
    despite_gate: StrictBool = Field(False, description="serve what the gate of students refused, too")
    reason: Annotated[str, StringConstraints(max_length=LONGEST_REASON)] = Field("", description="kept with the change")


class LoraEntry(FrozenValue):
    """One LoRA of the served student."""

    id: str
    model: str = Field(description="the name that a request gives")
    loaded: bool
    since: str | None = Field(None, description="served since then, in UTC, ISO 8601")
    sha256: str | None = Field(None, description="hash of its two files")
    rank: int | None = None
    parameters: int | None = Field(None, description="numbers that it adds to the base's")
    dataset: str | None = Field(None, description="dataset version that it learnt from")
    figures: dict[str, Any] = Field(default_factory=dict, description="what was measured while it was made")
    gate: Literal["passed", "refused"] | None = Field(None, description="what the gate of students said of it last")
    gate_text: str | None = None
    modes: tuple[str, ...] = ()
    release: str | None = Field(None, description="what its answers name as their release")
    no_release: str | None = Field(None, description="why it has no R-JEPA")
    answering: int = Field(0, description="requests that are answered with it at this moment")
    health: LoraHealth | None = Field(None, description="its rates beside the base's")
    problem: str | None = Field(None, description="why it is not loaded although it should be")
    cure: str | None = None


class LoraList(FrozenValue):
    """All LoRAs of the served student that are in the home, and what was done to them lately."""

    object: str = "list"
    base: str
    data: tuple[LoraEntry, ...]
    moves: tuple[LoraMove, ...]
    problem: str | None = Field(None, description="why the set cannot be followed at this moment")
    cure: str | None = None


@router.get("")
async def loras(request: Request) -> LoraList:
    """Which LoRAs there are, which are loaded, how they do beside the base, and who changed that."""
    return await _list(request)


@router.post("/reload")
async def reload(body: Reload, request: Request) -> LoraList:
    """Serve exactly these LoRAs: each verified, all or none, from the next request on."""
    await _loras(request).reload(
        body.adapter_ids,
        who=request.state.principal.client,
        reason=f"despite the gate; {body.reason}" if body.despite_gate else body.reason,
        despite_gate=body.despite_gate,
    )
    return await _list(request)


@router.delete("/{adapter_id}")
async def unload(adapter_id: LoraId, request: Request) -> LoraList:
    """Serve a LoRA no longer. Answers that are being written with it come to their end."""
    await _loras(request).unload(adapter_id, who=request.state.principal.client, reason="")
    return await _list(request)


@router.get("/section", include_in_schema=False)
async def section(request: Request) -> HTMLResponse:
    """The same as HTML for the monitor, in the page's language."""
    found = await _list(request)
    return fragment(request, "loras", loras=found, may_act=may(request.state.principal.role, "operator"))


async def _list(request: Request) -> LoraList:
    loras, base = _loras(request), request.app.state.settings.llm
    there = await asyncio.to_thread(list_loras, request.app.state.place.home, base)
    names = sorted({name for _, name in there} | loras.served.keys())
    verdicts = await asyncio.to_thread(lambda: {name: loras.opener.verdict(name) for name in names})
    health = await loras.health() if loras.loaded else {}
    return LoraList(
        base=base,
        data=tuple(_entry(loras, base, name, health.get(name), verdicts[name]) for name in names),
        moves=tuple(await loras.moves()),
        problem=None if loras.trouble is None else loras.trouble.problem,
        cure=None if loras.trouble is None else loras.trouble.cure,
    )


def _entry(
    loras: LoadedLoras, base: str, name: str, health: LoraHealth | None, verdict: StudentDecision | None
) -> LoraEntry:
    loaded, failure, served = loras.loaded.get(name), loras.failed.get(name), loras.served.get(name)
    facts: dict[str, Any] = {"id": name, "model": f"{base}+{name}"}
    if verdict is not None:
        facts |= {"gate": "passed" if verdict.passed else "refused", "gate_text": verdict.text}
    if loaded is None:
        problem, cure = (None, None) if failure is None else (failure.problem, failure.cure)
        return LoraEntry(**facts, loaded=False, problem=problem, cure=cure)
    lora, answerer = loaded.opened.lora, loaded.answerer
    return LoraEntry(
        **facts,
        loaded=True,
        since=None if served is None else to_iso(served.since_ms),
        sha256=lora.sha256,
        rank=lora.rank,
        parameters=lora.parameters,
        dataset=lora.manifest.dataset,
        figures=dict(lora.manifest.figures),
        modes=answerer.modes,
        release=answerer.release_id,
        no_release=answerer.info().get("no_release"),
        answering=loaded.answering,
        health=health,
    )


def _loras(request: Request) -> LoadedLoras:
    loras: LoadedLoras = request.app.state.loras
    return loras
