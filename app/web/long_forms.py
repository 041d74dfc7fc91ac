"""Forms in which people paste or write long texts."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.web.security import LONGEST_FORM_BYTES


class LongFormRoute(APIRoute):
    """A route of which one field may be as long as its whole body may be (see BodyLimit).

    Starlette's own limit of 1 MiB a field would refuse with words that are not about it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_long(request: Request) -> Response:
            # What is parsed once is kept with the request.
            await request.form(max_part_size=LONGEST_FORM_BYTES)
            return await handle(request)

        return handle_long
