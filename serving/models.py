"""Models by their names: GET /v1/models, an entry for each mode, release and LoRA; and the engine for a name."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, Request

from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.reasoning.modes import MODES
from rjepa.releases.bundle import Manifest, list_releases, release_folder
from serving.collecting import note_engine
from serving.host import AnswersQuestions, EngineHost, EngineLoader
from serving.loras import LoadedLoras
from serving.names import ModelName, parse_name, unknown_model

MAX_LOADED: Final = 2
"""Releases beside the current one that stay in memory. Their student is shared, a world model is a few MB; the bound is
there so that a client that walks through a long history cannot fill the memory."""

router = APIRouter()


class LoadedReleases:
    """Releases that are not current, loaded when they are asked for; the one that was not used for longest goes."""

    def __init__(self, home: Home, llm_tag: str, host: EngineHost, loader: EngineLoader) -> None:
        self._home = home
        self._llm_tag = llm_tag
        self._host = host
        self._loader = loader
        self._loaded: OrderedDict[str, AnswersQuestions] = OrderedDict()
        self._loading = asyncio.Lock()

    async def get(self, release_id: str) -> AnswersQuestions:
        """The engine of a release, every byte of it verified when it was loaded.

        Raises:
            UnknownModelError: there is no such release.
            RjepaError: it cannot be loaded, or no release is served yet.
        """
        current = self._host.engine()
        if release_id == current.release_id:
            return current
        try:
            await asyncio.to_thread(release_folder, self._home, self._llm_tag, release_id)
        except (InvalidInputError, NotFoundError) as error:
            raise unknown_model(ModelName(self._llm_tag, release_id), self._llm_tag) from error
        async with self._loading:
            if release_id not in self._loaded:
                # In the engine's thread: the student is shared with the one that answers.
                engine = await self._host.run(lambda: self._loader(self._host.engine(), release_id))
                self._loaded[release_id] = engine
                while len(self._loaded) > MAX_LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(release_id)
            return self._loaded[release_id]


async def engine_of(request: Request, name: ModelName) -> AnswersQuestions:
    """The engine that answers for a model's name.

    Raises:
        UnknownModelError: there is no such model, release or mode.
        GoneError: the LoRA is not loaded.
        InvalidInputError: the mode needs what this release or this student does not have.
        RjepaError: it cannot be loaded.
    """
    host: EngineHost = request.app.state.host
    releases: LoadedReleases = request.app.state.releases
    loras: LoadedLoras = request.app.state.loras
    engine = host.engine()
    served = engine.llm_tag
    if name.tag != served:
        raise unknown_model(name, served)
    if name.lora is not None:
        engine = loras.take(name.lora, request)
        if name.mode is not None:
            engine.require_mode(name.mode)
    if name.release is not None:
        engine = await releases.get(name.release)
    if name.mode is not None and name.mode not in engine.modes:
        if name.mode in MODES:
            engine.require_mode(name.mode)
        raise unknown_model(name, served)
    note_engine(engine.release_id)
    return engine


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """Every name that a request can give: the current release in each mode, and every release by its id."""
    host: EngineHost = request.app.state.host
    engine = host.engine()
    home = Home(request.app.state.settings.home)
    manifests = await asyncio.to_thread(list_releases, home, engine.llm_tag)
    loras: LoadedLoras = request.app.state.loras
    return {"object": "list", "data": _entries(engine, manifests) + _lora_entries(engine, loras)}


@router.get("/v1/models/{model}")
async def model(model: str, request: Request) -> dict[str, Any]:
    """One model by its name; of a release by id, with a mode too."""
    name = parse_name(model)
    known: dict[str, dict[str, Any]] = {entry["id"]: entry for entry in (await models(request))["data"]}
    base = known.get(str(ModelName(name.tag, name.release, lora=name.lora)))
    if base is None or (name.mode is not None and name.mode not in base["rjepa"]["modes"]):
        raise unknown_model(name)
    return known.get(model) or base | {"id": model, "rjepa": base["rjepa"] | {"mode": name.mode}}


def _entries(engine: AnswersQuestions, manifests: Sequence[Manifest]) -> list[dict[str, Any]]:
    from rjepa.reasoning.modes import modes_offered  # torch comes with them, and the service is up before it is

    created = {manifest.release_id: int(manifest.created_at.timestamp()) for manifest in manifests}
    # By release: whose R-JEPA it is, where that is not the student's own.
    carried = {one.release_id: {"carried_from": one.carried.source.llm_tag} for one in manifests if one.carried}
    current = engine.release_id
    modes = list(engine.modes)
    names = [ModelName(engine.llm_tag), *(ModelName(engine.llm_tag, mode=mode) for mode in modes)]
    entries = [_entry(name, created.get(current, 0), current, modes, carried.get(current, {})) for name in names]
    for manifest in reversed(manifests):
        release = manifest.release_id
        offered = modes if release == current else list(modes_offered(manifest))
        name = ModelName(engine.llm_tag, release)
        entries.append(_entry(name, created[release], release, offered, carried.get(release, {})))
    return entries


def _lora_entries(engine: AnswersQuestions, loras: LoadedLoras) -> list[dict[str, Any]]:
    """Each LoRA that is loaded, by itself and in each of its modes."""
    entries = []
    for lora, loaded in loras.loaded.items():
        created = loras.served[lora].since_ms // 1000
        modes, release = list(loaded.answerer.modes), loaded.answerer.release_id
        for mode in (None, *modes):
            name = ModelName(engine.llm_tag, mode=mode, lora=lora)
            # `parent` is vLLM's name for the base of a LoRA.
            entries.append(_entry(name, created, release, modes, {"lora": lora, "parent": engine.llm_tag}))
    return entries


def _entry(name: ModelName, created: int, release_id: str, modes: list[str], more: Mapping[str, str]) -> dict[str, Any]:
    details = {"release": release_id, "mode": name.mode, "modes": modes, **more}
    return {"id": str(name), "object": "model", "created": created, "owned_by": "rjepa", "rjepa": details}
