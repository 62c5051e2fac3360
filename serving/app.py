"""Put the service together: `create_app(settings)`. Routes, guards and the engine's host live in their own modules."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from rjepa.home import Home
from serving import chat, errors, models, monitor, pages, responses, routes
from serving.host import AnswersQuestions, EngineHost, EngineLoader
from serving.middleware import AllowedHosts, ApiKey, BodyLimit, RequestContext
from serving.response_store import ResponseStore
from serving.settings import ServiceSettings, check_start


def create_app(settings: ServiceSettings, engine_loader: EngineLoader | None = None) -> FastAPI:
    """The service over `settings.home`. It starts without a release, says so, and loads one when it appears.

    Args:
        engine_loader: makes the engine of what `CURRENT` points at; None for the real one.

    Raises:
        InvalidInputError: the settings would serve a network without a proper key.
    """
    check_start(settings)
    home, loader = Home(settings.home), engine_loader or _load_engine(settings)
    host = EngineHost(
        home,
        settings.llm,
        loader,
        max_waiting=settings.max_waiting,
        reload_seconds=settings.reload_seconds,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await host.start()
        try:
            yield
        finally:
            await host.stop()

    # The documentation pages fetch scripts from elsewhere, which the content policy refuses: only the schema is served.
    app = FastAPI(
        title="R-JEPA",
        version="0.1.0",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=errors.DOCUMENTED,
    )
    app.state.host = host
    app.state.responses = ResponseStore()
    app.state.releases = models.LoadedReleases(home, settings.llm, host, loader)
    app.state.settings = settings
    errors.install(app)
    app.include_router(chat.router)
    app.include_router(responses.router)
    app.include_router(models.router)
    app.include_router(routes.router)
    app.include_router(pages.router)
    app.include_router(monitor.router)
    app.mount("/static", StaticFiles(directory=routes.STATIC), name="static")
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(ApiKey, key=settings.key)
    app.add_middleware(AllowedHosts, hosts=settings.hosts)
    app.add_middleware(RequestContext)
    return app


def _load_engine(settings: ServiceSettings) -> EngineLoader:
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
