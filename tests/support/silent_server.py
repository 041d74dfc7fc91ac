"""A chat server that takes every question and then falls silent, to see who can stop waiting."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.support.serving import free_port, served


class SilentServer:
    """Says nothing, or nothing after its headers.

    Attributes:
        begins: whether an answer begins before the silence.
        asked: how many questions came.
        left: how many of those who asked went away again.
    """

    def __init__(self, *, begins: bool) -> None:
        self.begins = begins
        self.asked = 0
        self.left = 0
        self.url = ""
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request: Request) -> Response:
        await request.body()
        self.asked += 1
        if self.begins:
            return StreamingResponse(self._silence(request), media_type="text/event-stream")
        await self._until_left(request)
        return Response(status_code=499)

    async def _silence(self, request: Request) -> AsyncIterator[bytes]:
        yield b": loading\n\n"
        await self._until_left(request)

    async def _until_left(self, request: Request) -> None:
        try:
            while (await request.receive())["type"] != "http.disconnect":
                pass
        finally:
            self.left += 1


@contextmanager
def silent_server(*, begins: bool) -> Iterator[SilentServer]:
    server = SilentServer(begins=begins)
    with served(server.app, free_port()) as url:
        server.url = url
        yield server
