"""An answer as it is written, sent to one browser. Leaving ends only the sending."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from app.chat.live import LiveReply, Snapshot
from app.web.dependencies import still_welcome

STREAM_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_CHECK_SECONDS: Final = 8.0


async def reply_events(
    request: Request, project_id: str, reply: LiveReply | None, begin: int
) -> AsyncIterator[str]:
    """Yield the text from a position on, then "end". The event's id is the position reached.

    Args:
        request: whose rights are checked again every few seconds.
        project_id: the project that the conversation is in.
        reply: the running answer; None if it is over, and the page shows it from its row.
        begin: how many characters the browser has already.
    """
    if reply is not None:
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        end_listening = reply.listen(wake)
        try:
            async for event in _follow(request, project_id, reply, begin, changed):
                yield event
        finally:
            end_listening()
    yield "event: end\ndata: {}\n\n"


async def _follow(
    request: Request, project_id: str, reply: LiveReply, begin: int, changed: asyncio.Event
) -> AsyncIterator[str]:
    position, state = begin, ""
    checked = time.monotonic()
    while True:
        changed.clear()
        snapshot = reply.snapshot()
        if snapshot.state not in {state, "done"}:
            state = snapshot.state
            yield _event("state", {"state": state}, position)
        if len(snapshot.text) > position:
            yield _text(snapshot, position)
            position = len(snapshot.text)
        if snapshot.state == "done":
            return
        try:
            await asyncio.wait_for(changed.wait(), _CHECK_SECONDS)
        except TimeoutError:
            yield ": still there\n\n"
        if time.monotonic() - checked > _CHECK_SECONDS:
            if not await run_in_threadpool(still_welcome, request, project_id):
                return
            checked = time.monotonic()


def _text(snapshot: Snapshot, position: int) -> str:
    return _event("text", {"text": snapshot.text[position:]}, len(snapshot.text))


def _event(name: str, data: dict[str, str], position: int) -> str:
    return f"id: {position}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
