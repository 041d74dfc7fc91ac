"""Walls around every page: headers, the hosts Tailor answers to, and how large a request may be.

All are plain ASGI, so that streams pass through them untouched.
"""

import re
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import DomainError, TooLargeError
from app.settings import Settings

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    # Not "no-referrer": with that, browsers say `Origin: null` when a form is sent.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # Not "no-store": with that, going back would lose what was typed into a form.
    "cache-control": "private, no-cache",
}
STRICT_TRANSPORT: Final = "max-age=31536000"
"""Whoever came by https once is never sent back to plain http, for a year."""

ORDINARY_BODY_BYTES: Final = 2 * 1024**2
# A pasted text is held in memory several times over; more than this goes in as a file.
LONGEST_FORM_BYTES: Final = 5 * 1024**2
# Room for the form around an uploaded file.
_UPLOAD_ENVELOPE_BYTES: Final = 64 * 1024
_UPLOAD_PATH: Final = re.compile(r"/projects/[^/]+/examples/upload")
_PASTE_PATH: Final = re.compile(r"/projects/[^/]+/examples/paste")


class UnknownHostError(DomainError):
    """The request names a host that is not ours (see DNS rebinding)."""

    status_code = 400

    def __init__(self, host: str) -> None:
        super().__init__(
            f"Tailor does not answer to the address “{host[:100]}”.",
            why="It answers only to the addresses it was set up for.",
            next_step="If this address is right, the person who runs Tailor can set "
            "TAILOR_PUBLIC_URL to it.",
        )


class RequestTooLargeError(TooLargeError):
    def __init__(self, limit: int) -> None:
        super().__init__(
            "This is too much at once.",
            why=f"At most {limit:,} bytes can be sent here.",
            next_step="Send less, or upload it as a file of examples.",
        )


class SecurityHeaders:
    """Adds the headers to every answer, unless a page set its own."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_security_headers(MutableHeaders(scope=message), self._settings)
            await send(message)

        await self.app(scope, receive, send_with_headers)


def add_security_headers(headers: MutableHeaders, settings: Settings) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if settings.resolved_public_url.startswith("https://"):
        headers.setdefault("strict-transport-security", STRICT_TRANSPORT)


class HostCheck:
    """Refuses requests for hosts that are not ours, so that no foreign name leads here."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._allowed = frozenset(name.strip("[]").lower() for name in settings.allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            host = Headers(scope=scope).get("host", "")
            if host_name(host) not in self._allowed:
                raise UnknownHostError(host)
        await self.app(scope, receive, send)


def host_name(host: str) -> str:
    """Return the name in a Host header: without its port, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


class BodyLimit:
    """Bounds what a request may carry: uploads by the settings, forms by far less."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._upload_limit = settings.max_upload_bytes + _UPLOAD_ENVELOPE_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced) > limit:
            raise RequestTooLargeError(limit)
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise RequestTooLargeError(limit)
            return message

        await self.app(scope, receive_counted, send)

    def _limit(self, path: str) -> int:
        if _UPLOAD_PATH.fullmatch(path):
            return self._upload_limit
        if _PASTE_PATH.fullmatch(path):
            return LONGEST_FORM_BYTES
        return ORDINARY_BODY_BYTES
