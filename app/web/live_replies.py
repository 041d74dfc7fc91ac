"""The answers that this web process is waiting for. They outlive every request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Lock
from typing import Final, cast

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from app.chat.engine import ChatEngine
from app.chat.inference_token import ensure_inference_token
from app.chat.live import LiveReplies
from app.database.session import new_session

_CLOSING_SECONDS: Final = 3.0
_creation = Lock()


def live_replies_of(application: FastAPI) -> LiveReplies:
    state = application.state
    with _creation:
        if not hasattr(state, "live_replies"):
            engine = ChatEngine(
                state.settings.resolved_inference_url,
                lambda: ensure_inference_token(state.settings, state.storage),
            )
            state.live_replies = LiveReplies(engine, lambda: new_session(state.engine))
    return cast("LiveReplies", state.live_replies)


@asynccontextmanager
async def live_replies(application: FastAPI) -> AsyncIterator[None]:
    """The service: what is half written when the pages stop is kept."""
    replies = live_replies_of(application)
    try:
        yield
    finally:
        await run_in_threadpool(replies.close, _CLOSING_SECONDS)
