"""The web process: create_app() puts the pages, the walls and the ground together.

It starts in about a second and never imports torch, transformers, peft or the worker; a test in a
fresh interpreter holds that.
"""

from typing import Final

from fastapi import APIRouter, FastAPI
from sqlalchemy import Engine
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware

from app.database.engine import build_engine, get_engine
from app.settings import Settings, get_settings
from app.storage.folders import Storage
from app.version import VERSION
from app.web.cookies import CookieJar, cookie_jar
from app.web.error_pages import expected_errors, unforeseen
from app.web.gate import Gate
from app.web.lifespan import lifespan
from app.web.pages import (
    accounts,
    base_models,
    chat,
    examples,
    health,
    history,
    home,
    imports,
    people,
    projects,
    queue,
    runs,
    setup,
    versions,
)
from app.web.run_views import RunViews
from app.web.security import BodyLimit, HostCheck, SecurityHeaders
from app.web.signing import Signer, load_signer
from app.web.static_files import StaticFolder
from app.web.templating import STATIC_FOLDER

ROUTERS: Final[tuple[APIRouter, ...]] = (
    health.router,
    home.router,
    setup.router,
    accounts.router,
    people.router,
    history.router,
    queue.router,
    projects.router,
    examples.router,
    imports.router,
    base_models.router,
    runs.router,
    versions.router,
    chat.router,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application, for these settings or those of the environment."""
    engine = _engine(settings)
    settings = settings or get_settings()
    storage = Storage(settings.storage_root)
    storage.prepare()
    signer = load_signer(storage)
    cookies = cookie_jar(settings)
    application = FastAPI(
        title="Tailor",
        version=VERSION,
        # The documentation pages would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        middleware=_walls(settings, engine, signer, cookies),
        exception_handlers={**expected_errors(), Exception: unforeseen},
    )
    application.state.settings = settings
    application.state.engine = engine
    application.state.storage = storage
    application.state.signer = signer
    application.state.cookies = cookies
    application.state.run_views = RunViews()
    for router in ROUTERS:
        application.include_router(router)
    application.mount("/static", StaticFolder(directory=STATIC_FOLDER), name="static")
    return application


def _engine(settings: Settings | None) -> Engine:
    if settings is None or settings == get_settings():
        return get_engine()
    return build_engine(settings.resolved_database_url)


def _walls(
    settings: Settings, engine: Engine, signer: Signer, cookies: CookieJar
) -> list[Middleware]:
    """From the outside in. What a wall refuses is shown by the same error pages."""
    return [
        Middleware(SecurityHeaders, settings=settings),
        Middleware(ExceptionMiddleware, handlers=expected_errors()),
        Middleware(HostCheck, settings=settings),
        Middleware(BodyLimit, settings=settings),
        Middleware(Gate, settings=settings, engine=engine, signer=signer, cookies=cookies),
    ]
