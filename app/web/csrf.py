"""Proof that a form was sent from our own page.

Every unsafe request needs two things: an Origin that is ours (browsers send it with every form),
and the token that the page was given, as the form's first field or as a header. The first field,
because an upload can be larger than memory: only its beginning is read here, then all of it is
handed on.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import Message, Receive

from app.errors import ForbiddenError
from app.settings import Settings
from app.web.security import host_name

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
FIELD: Final = "csrf_token"
HEADER: Final = "x-csrf-token"

_MULTIPART_PEEK_BYTES: Final = 8 * 1024
_FIRST_FIELD: Final = re.compile(
    rb'\s*--[^\r\n]{1,200}\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n'
    rb"([A-Za-z0-9_-]{1,100})\r\n",
    re.IGNORECASE,
)
_URLENCODED_FIELD: Final = re.compile(rb"(?:^|&)csrf_token=([A-Za-z0-9_-]{1,100})(?:&|$)")


class ForeignOriginError(ForbiddenError):
    """Another site made the browser send this."""

    def __init__(self) -> None:
        super().__init__(
            "This was not sent from a page of Tailor.",
            why="Your browser says that another site sent it.",
            next_step="Open Tailor in its own tab and try again.",
        )


class StaleFormError(ForbiddenError):
    """The form's token is missing or is not this session's."""

    def __init__(self) -> None:
        super().__init__(
            "This form is too old to be sent.",
            why="You have signed in or out since the page was opened.",
            next_step="Go back, reload the page, and send it again.",
        )


def check_origin(request: Request, settings: Settings) -> None:
    """Raise ForeignOriginError if the browser says that another site sent the request.

    A request without the header does not come from a browser's form; it still needs the token.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    if site not in {"same-origin", "none"} or not _is_own(origin, request, settings):
        raise ForeignOriginError


def _is_own(origin: str | None, request: Request, settings: Settings) -> bool:
    if origin is None:
        return True
    # HostCheck has already made sure that the Host header names us.
    here = f"{request.url.scheme}://{request.headers.get('host', '')}"
    if origin.lower() in {here.lower(), _origin_of(settings.resolved_public_url)}:
        return host_name(urlsplit(origin).netloc) != ""
    return False


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


async def read_token(request: Request, receive: Receive) -> tuple[str, Receive]:
    """Return the token a request carries, and a `receive` that gives the whole body again."""
    header = request.headers.get(HEADER)
    if header is not None:
        return header, receive
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/x-www-form-urlencoded":
        messages = await _read(receive, enough_bytes=None)
        return _urlencoded_token(_joined(messages)), _replay(messages, receive)
    if content_type == "multipart/form-data":
        messages = await _read(receive, enough_bytes=_MULTIPART_PEEK_BYTES)
        match = _FIRST_FIELD.match(_joined(messages))
        return (match[1].decode() if match else ""), _replay(messages, receive)
    return "", receive


async def _read(receive: Receive, enough_bytes: int | None) -> list[Message]:
    messages: list[Message] = []
    size = 0
    while enough_bytes is None or size < enough_bytes:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
        if enough_bytes is not None and _FIRST_FIELD.match(_joined(messages)):
            break
    return messages


def _joined(messages: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages)


def _replay(messages: list[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def replayed() -> Message:
        for message in waiting:
            return message
        return await receive()

    return replayed


def _urlencoded_token(body: bytes) -> str:
    # Found without decoding the rest, which may be a pasted book.
    match = _URLENCODED_FIELD.search(body)
    return match[1].decode() if match else ""
