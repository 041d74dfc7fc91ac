"""Server-sent events: how they are written, and one stream to one open page."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from fastapi.responses import StreamingResponse

_PING_SECONDS: Final = 10.0
_MOST_WAITING: Final = 200
_HEADERS: Final = {
    "cache-control": "no-cache, no-transform",
    # nginx would otherwise collect events until its buffer is full.
    "x-accel-buffering": "no",
}


def event(name: str, data: str = "", event_id: int | None = None) -> bytes:
    """Return one event as it goes over the wire; several lines of data stay several lines."""
    lines = [f"event: {name}"]
    if event_id is not None:
        lines.append(f"id: {event_id}")
    lines += [f"data: {line}" for line in data.splitlines() or [""]]
    return ("\n".join(lines) + "\n\n").encode()


class Outbox:
    """What waits to be sent to one open page: filled by a thread, emptied by its stream.

    It is bounded. A page that cannot keep up is let go; its browser comes back by itself and says
    what it saw last.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_MOST_WAITING)

    def send(self, message: bytes) -> None:
        """Add a message; may be called from any thread."""
        self._in_loop(lambda: self._add(message))

    def close(self) -> None:
        """End the stream once everything before has been sent; may be called from any thread."""
        self._in_loop(lambda: self._add(None))

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield what is to be sent, and a ping when there has been nothing for a while."""
        yield b"retry: 2000\n\n"
        while True:
            try:
                message = await asyncio.wait_for(self._queue.get(), _PING_SECONDS)
            except TimeoutError:
                yield event("ping")
                continue
            if message is None:
                return
            yield message

    def _in_loop(self, act: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(act)
        except RuntimeError:
            # The web process is ending and its loop is closed; so is every stream.
            return

    def _add(self, message: bytes | None) -> None:
        if self._queue.full():
            while not self._queue.empty():
                self._queue.get_nowait()
            message = None
        self._queue.put_nowait(message)


def stream(outbox: Outbox, on_close: Callable[[], None]) -> StreamingResponse:
    """Answer with everything that the outbox gets, until it is closed or the browser leaves."""

    async def body() -> AsyncIterator[bytes]:
        try:
            async for message in outbox.messages():
                yield message
        finally:
            on_close()

    return StreamingResponse(body(), media_type="text/event-stream", headers=_HEADERS)


def last_seen(header: str | None, *parameters: str | None) -> int:
    """Return the number of the last event that a browser has seen; 0 if it says nothing."""
    for text in (header, *parameters):
        if text and text.isascii() and text.isdecimal() and len(text) < 10:
            return int(text)
    return 0
