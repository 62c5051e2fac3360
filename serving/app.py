"""Put the service together: `create_app(settings)`. Routes, guards and the engine's host live in their own modules."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles

from rjepa.control.place import Place
from rjepa.home import Home
from rjepa.living.windows import Window, add_windows
from serving import (
    chat,
    completions,
    embeddings,
    errors,
    feedback,
    generate,
    latents,
    learning,
    lora_routes,
    metrics,
    models,
    monitor,
    pages,
    responses,
    reviewing,
    routes,
    tools,
)
from serving.answering import through_host
from serving.auth import Auth, Authenticator
from serving.collecting import QualityCollector
from serving.context import current_request
from serving.document import VERSION, DocumentedApp
from serving.given import FeedbackDesk
from serving.host import AnswersQuestions, EngineHost, EngineLoader
from serving.lenient import ADJUSTED_HEADER, IGNORED_HEADER
from serving.limits import Admission, Limits
from serving.lora_opening import LoraUses
from serving.loras import LoadedLoras
from serving.metrics import Metrics
from serving.middleware import Body, Doors, HeadAsGet, RequestContext
from serving.quality import FLUSH_SECONDS, Quality
from serving.response_store import ResponseStore
from serving.settings import ServiceSettings, check_start
from serving.tokens import open_token_reader


def create_app(settings: ServiceSettings, engine_loader: EngineLoader | None = None) -> FastAPI:
    """The service over `settings.home`. It starts without a release, says so, and loads one when it appears.

    Args:
        engine_loader: makes the engine of what `CURRENT` points at; None for the real one.

    Raises:
        InvalidInputError: the settings would serve a network without a proper key.
    """
    check_start(settings)
    figures = Metrics()
    authenticator = Authenticator(settings, open_token_reader(settings))
    home, loader = Home(settings.home), engine_loader or load_engine(settings)
    host = EngineHost(
        home,
        settings.llm,
        loader,
        reload_seconds=settings.reload_seconds,
        metrics=figures,
    )

    place = Place.of(settings)
    mcp_server = tools.make_server(place, lambda: current_request().client, through_host(host))
    mcp_route = tools.mcp_route(mcp_server)

    desk = FeedbackDesk(settings)
    quality = Quality(settings.llm, lambda windows: _keep_windows(place, windows), figures)

    loras = LoadedLoras(
        place,
        host,
        most=settings.max_loras,
        endpoint_folder=settings.endpoint_loras,
        follow_seconds=settings.reload_seconds,
        health_seconds=FLUSH_SECONDS,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await host.start()
        await desk.start()
        await quality.start()
        await loras.start()
        try:
            async with mcp_server.session_manager.run():
                yield
        finally:
            await loras.stop()
            await host.stop()
            await quality.stop()
            authenticator.close()
            desk.close()

    # The documentation pages fetch scripts from elsewhere, which the content policy refuses: only the schema is served.
    # A redirect to the path with a slash would be put together from the Host header.
    app = DocumentedApp(
        title="R-JEPA",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        responses=errors.DOCUMENTED,
    )
    app.state.host = host
    app.state.responses = ResponseStore()
    app.state.releases = models.LoadedReleases(home, settings.llm, host, loader)
    app.state.loras, app.state.place = loras, place
    app.state.feedback = desk
    app.state.selecting = reviewing.Selecting(home, settings.llm)
    app.state.settings = settings
    app.state.metrics = figures
    app.state.quality = quality
    app.state.admission = Admission(settings, host.seconds_a_job)
    errors.install(app)
    app.include_router(chat.router)
    app.include_router(completions.router)
    app.include_router(embeddings.router)
    app.include_router(feedback.router)
    app.include_router(generate.router)
    app.include_router(latents.router)
    app.include_router(responses.router)
    app.include_router(models.router)
    app.include_router(routes.router)
    app.include_router(metrics.router)
    app.include_router(pages.router)
    app.include_router(monitor.router)
    app.include_router(reviewing.router)
    app.include_router(learning.router)
    app.include_router(lora_routes.router)
    app.router.routes.append(mcp_route)
    app.mount("/static", StaticFiles(directory=routes.STATIC), name="static")
    _guard(app, settings, authenticator)
    return app


def _guard(app: FastAPI, settings: ServiceSettings, authenticator: Authenticator) -> None:
    """The guards, innermost first: a request passes the last one here before all others."""
    figures = app.state.metrics
    app.add_middleware(HeadAsGet)
    app.add_middleware(LoraUses, ended=app.state.loras.give_back)
    app.add_middleware(QualityCollector, quality=app.state.quality, served=lambda: _served(app.state.host))
    app.add_middleware(Limits, admission=app.state.admission, metrics=figures)
    app.add_middleware(Body, settings=settings, metrics=figures)
    app.add_middleware(Auth, authenticator=authenticator, metrics=figures)
    if settings.cors_origins:
        # Without credentials: keys are sent by the page itself, never by the browser on its behalf.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after", IGNORED_HEADER, ADJUSTED_HEADER, *_RATE_HEADERS],
        )
    app.add_middleware(Doors, settings=settings, metrics=figures)
    app.add_middleware(RequestContext, settings=settings, metrics=figures)


_RATE_HEADERS = tuple(
    f"x-ratelimit-{part}-{kind}" for part in ("limit", "remaining", "reset") for kind in ("requests", "tokens")
)


def _served(host: EngineHost) -> str | None:
    engine = host.state.engine
    return None if engine is None else engine.release_id


def _keep_windows(place: Place, windows: Sequence[Window]) -> None:
    with place.open_database() as database:
        add_windows(database, windows)


def load_engine(settings: ServiceSettings) -> EngineLoader:
    """What loads the real engine of a release."""

    def load(previous: AnswersQuestions | None, release_id: str | None = None) -> AnswersQuestions:
        # Torch and transformers take seconds to import: the service is up and says "loading" meanwhile.
        import torch

        from rjepa.engine import Engine

        if settings.threads:
            torch.set_num_threads(settings.threads)

        reuse = previous if isinstance(previous, Engine) else None
        return Engine.load(
            Home(settings.home), settings.llm, release_id=release_id, address=settings.student_url, reuse=reuse
        )

    return load
