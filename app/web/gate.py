"""The one door: who is asking, may they come in, and did our own page send this.

Every request passes here before any route is looked up, so a route cannot be left open by
forgetting something in it: a path is public only by matching PUBLIC_PATHS.
"""

import hmac
import logging
import re
from typing import Final
from urllib.parse import quote

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.accounts import sign_in
from app.accounts.errors import NotSignedInError
from app.accounts.sign_in import SignedIn
from app.accounts.tokens import new_token
from app.database.session import DATABASE_AWAY, transaction
from app.settings import Settings
from app.web.cookies import CookieJar
from app.web.csrf import SAFE_METHODS, StaleFormError, check_origin, read_token
from app.web.flashes import read_flashes
from app.web.signing import Signer

logger = logging.getLogger(__name__)

PUBLIC_PATHS: Final = (
    re.compile(r"/health"),
    re.compile(r"/login"),
    re.compile(r"/setup/[^/]+"),
    re.compile(r"/invitation/[^/]+"),
    re.compile(r"/reset/[^/]+"),
    re.compile(r"/static/.+"),
)
# These need to know nobody, so they do not ask the database either.
_FACELESS: Final = re.compile(r"/health|/static/.+")
_FORM_PURPOSE: Final = "form"


def is_public(path: str) -> bool:
    return any(pattern.fullmatch(path) for pattern in PUBLIC_PATHS)


def wants_page(request: Request) -> bool:
    """Say whether a person's browser asks for a page, rather than a script for data."""
    accept = request.headers.get("accept", "")
    return "text/html" in accept or not (
        "application/json" in accept or "text/event-stream" in accept
    )


class Gate:
    """Recognises people, turns strangers away, and checks every form."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        engine: Engine,
        signer: Signer,
        cookies: CookieJar,
    ) -> None:
        self.app = app
        self._settings = settings
        self._engine = engine
        self._signer = signer
        self._cookies = cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            # Tailor has none; closing here keeps a future one from being open by accident.
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "lifespan" or _FACELESS.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        person = await run_in_threadpool(self._recognise, request)
        if person is None and not is_public(request.url.path):
            await self._turn_away(request, scope, receive, send)
            return
        form_cookie = request.cookies.get(self._cookies.form, "") or new_token()
        self._introduce(request, person, form_cookie)
        if request.method not in SAFE_METHODS:
            receive = await self._check_form(request, receive, person, form_cookie)
        await self.app(scope, receive, self._with_cookies(request, form_cookie, person, send))
        if person is not None and person.seen_long_ago():
            # After the answer, so that nobody waits for the write.
            await run_in_threadpool(self._touch, person)

    def _recognise(self, request: Request) -> SignedIn | None:
        token = request.cookies.get(self._cookies.session, "")
        if not token:
            return None
        with transaction(self._engine, read_only=True) as session:
            return sign_in.recognise(session, token)

    def _touch(self, person: SignedIn) -> None:
        try:
            with transaction(self._engine) as session:
                sign_in.touch(session, person.session.id)
        except DATABASE_AWAY as error:
            logger.warning("Could not note that %s was seen: %s", person.session.id, error)

    async def _turn_away(
        self, request: Request, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if request.method not in {"GET", "HEAD"} or not wants_page(request):
            raise NotSignedInError
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        target = "/login" if path == "/" else f"/login?next={quote(path, safe='/')}"
        await RedirectResponse(target, status_code=303)(scope, receive, send)

    def _introduce(self, request: Request, person: SignedIn | None, form_cookie: str) -> None:
        """Put on request.state what pages and dependencies need to know."""
        state = request.state
        state.user = person.user if person else None
        state.user_session = person.session if person else None
        state.csrf_token = (
            person.session.csrf_token
            if person
            else self._signer.signature(_FORM_PURPOSE, form_cookie)
        )
        state.flashes = read_flashes(self._signer, request.cookies.get(self._cookies.flash, ""))

    async def _check_form(
        self, request: Request, receive: Receive, person: SignedIn | None, form_cookie: str
    ) -> Receive:
        check_origin(request, self._settings)
        token, receive = await read_token(request, receive)
        expected = [person.session.csrf_token] if person else []
        if is_public(request.url.path):
            # The page may have been opened before signing in, in another tab.
            expected.append(self._signer.signature(_FORM_PURPOSE, form_cookie))
        if not any(hmac.compare_digest(token.encode(), one.encode()) for one in expected):
            raise StaleFormError
        return receive

    def _with_cookies(
        self, request: Request, form_cookie: str, person: SignedIn | None, send: Send
    ) -> Send:
        needs_form_cookie = person is None and self._cookies.form not in request.cookies
        carries_flash = self._cookies.flash in request.cookies

        async def send_with_cookies(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                is_page = headers.get("content-type", "").startswith("text/html")
                if needs_form_cookie and is_page:
                    value = self._cookies.header(self._cookies.form, form_cookie)
                    headers.append("set-cookie", value)
                if carries_flash and is_page:
                    headers.append("set-cookie", self._cookies.removal(self._cookies.flash))
            await send(message)

        return send_with_cookies
