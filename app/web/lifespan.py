"""What runs beside the pages for as long as the web process lives.

A service is a function that takes the application and returns an async context manager: it starts
on entering, leaves what pages need on `app.state`, and stops on leaving. Add yours to SERVICES.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

from fastapi import FastAPI

from app.web.live_replies import live_replies
from app.web.run_feed import run_feed
from app.web.sweeping import sweeper

Service = Callable[[FastAPI], AbstractAsyncContextManager[None]]

# Started from top to bottom, stopped from bottom to top.
SERVICES: Final[tuple[Service, ...]] = (sweeper, run_feed, live_replies)


@asynccontextmanager
async def lifespan(application: FastAPI) -> AsyncIterator[None]:
    """Start every service, and stop them all however the process ends."""
    async with AsyncExitStack() as stack:
        for service in SERVICES:
            await stack.enter_async_context(service(application))
        yield
