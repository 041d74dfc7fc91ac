"""What the doors have in common: a new session's cookie, and where to go after signing in."""

from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from app.accounts.sign_in import NewSession
from app.web.cookies import CookieJar
from app.web.flashes import redirect


def let_in(
    request: Request, opened: NewSession, url: str = "/", flash: str = ""
) -> RedirectResponse:
    """Hand the browser its session and send it on."""
    jar: CookieJar = request.app.state.cookies
    response = redirect(request, url, flash)
    response.headers.append("set-cookie", jar.header(jar.session, opened.token, opened.lifetime))
    return response


def let_out(request: Request, response: Response) -> Response:
    """Take the session's cookie away again."""
    jar: CookieJar = request.app.state.cookies
    response.headers.append("set-cookie", jar.removal(jar.session))
    return response


def safe_next(target: str) -> str:
    """Return a path on this site, or the home page for anything else.

    Browsers read a backslash as a slash and drop control characters, so a slash followed by
    either and a host's name would lead away too.
    """
    is_path = target.startswith("/") and not target.startswith(("//", "/\\"))
    is_plain = target.isprintable() and "\\" not in target
    if not is_path or not is_plain or urlsplit(target).netloc:
        return "/"
    return target
