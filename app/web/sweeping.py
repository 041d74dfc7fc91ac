"""The sweeper beside the pages, so that nothing waits for a worker to be told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.upkeep.sweeper import Sweeper


@asynccontextmanager
async def sweeper(application: FastAPI) -> AsyncIterator[None]:
    """The service: sweeps in a thread for as long as the web process lives."""
    thread = Sweeper(application.state.engine, application.state.storage)
    thread.start()
    try:
        yield
    finally:
        thread.stop()
