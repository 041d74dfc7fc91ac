"""The answers to one question as they are written, sent to one browser.

Both sides come in one stream, because a browser grants a server only six connections. Leaving ends
only the sending.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from app.chat.live import LiveReply
from app.chat.replies import Side, Snapshot
from app.chat.thoughts import split_thoughts
from app.web.dependencies import still_welcome

STREAM_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_CHECK_SECONDS: Final = 8.0


class _Follower:
    """How far one browser is with one answer."""

    def __init__(self, side: Side, reply: LiveReply, begin: int) -> None:
        self.reply = reply
        self._side = side
        self._position = begin
        self._state = ""
        self.is_done = False

    def news(self) -> list[str]:
        """Return the events that bring the browser up to date."""
        snapshot = self.reply.snapshot()
        text = split_thoughts(snapshot.text).answer
        events = []
        state = _state(snapshot, text)
        if state not in {self._state, "done"}:
            self._state = state
            events.append(_event("state", {"side": self._side, "state": state}))
        begins_anew = len(text) < self._position
        if begins_anew:
            # What was sent as the answer turned out to be a thought: its end mark came alone.
            self._position = 0
        if begins_anew or len(text) > self._position:
            news = {"side": self._side, "text": text[self._position :], "begins_anew": begins_anew}
            events.append(_event("text", news))
            self._position = len(text)
        self.is_done = snapshot.state == "done"
        return events


async def turn_events(
    request: Request,
    project_id: str,
    replies: Mapping[Side, LiveReply],
    begins: Mapping[Side, int],
) -> AsyncIterator[str]:
    """Yield what is written from given positions on, then "end".

    Args:
        request: whose rights are checked again every few seconds.
        project_id: the project that the conversation is in.
        replies: the running answers; one that is over is shown by the page from its row.
        begins: how many characters of each answer the browser has already.
    """
    changed = asyncio.Event()
    wake = _waker(changed)
    followers = [_Follower(side, reply, begins[side]) for side, reply in replies.items()]
    with ExitStack() as listening:
        for follower in followers:
            listening.callback(follower.reply.listen(wake))
        async for event in _follow(request, project_id, followers, changed):
            yield event
    yield _event("end", {})


def _waker(changed: asyncio.Event) -> Callable[[], None]:
    loop = asyncio.get_running_loop()

    def wake() -> None:
        # The loop is closed if the web process ends while answers are still coming.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(changed.set)

    return wake


async def _follow(
    request: Request, project_id: str, followers: list[_Follower], changed: asyncio.Event
) -> AsyncIterator[str]:
    checked = time.monotonic()
    while True:
        changed.clear()
        for follower in followers:
            for event in follower.news():
                yield event
        if all(follower.is_done for follower in followers):
            return
        try:
            await asyncio.wait_for(changed.wait(), _CHECK_SECONDS)
        except TimeoutError:
            yield _event("ping", {})
        if time.monotonic() - checked > _CHECK_SECONDS:
            if not await run_in_threadpool(still_welcome, request, project_id):
                return
            checked = time.monotonic()


def _state(snapshot: Snapshot, text: str) -> str:
    return "thinking" if snapshot.state == "writing" and not text else snapshot.state


def _event(name: str, data: Mapping[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
