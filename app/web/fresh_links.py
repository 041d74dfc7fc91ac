"""A one-time link that was just made, on its way to the page that shows it.

Only a link's hash is kept, and making one withdraws the one before. Were it shown in the answer to
the form, reloading that page would send the form again, and the link that was just given to
someone would be dead. So the browser carries it to the next page: in a signed cookie, for this
sign-in alone and out of reach for scripts, that is taken away as soon as the page has shown it.
"""

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from app.accounts.tables import UserSession
from app.web.cookies import CookieJar
from app.web.flashes import redirect
from app.web.signing import Signer

_LIFETIME: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class FreshLink:
    path: str
    """Where it leads to in this Tailor."""
    for_whom: str
    is_reset: bool = False
    """Whether it is for a new password, and no invitation."""


def redirect_with_link(request: Request, url: str, link: FreshLink) -> RedirectResponse:
    """Send the browser to the page that shows the link."""
    response = redirect(request, url)
    jar: CookieJar = request.app.state.cookies
    signer: Signer = request.app.state.signer
    value = signer.packed(_purpose(request), asdict(link))
    response.headers.append("set-cookie", jar.header(jar.fresh_link, value, _LIFETIME))
    return response


def read_fresh_link(request: Request) -> FreshLink | None:
    """Return the link that this sign-in has just made, if it has not been shown yet."""
    jar: CookieJar = request.app.state.cookies
    signer: Signer = request.app.state.signer
    content = signer.unpacked(_purpose(request), request.cookies.get(jar.fresh_link, ""))
    return None if content is None else FreshLink(**content)


def forget_fresh_link(request: Request, response: Response) -> None:
    """Take the link from the browser, now that it is shown."""
    jar: CookieJar = request.app.state.cookies
    if jar.fresh_link in request.cookies:
        response.headers.append("set-cookie", jar.removal(jar.fresh_link))


def _purpose(request: Request) -> str:
    # Whoever signs in after an administrator, in the same browser, finds nothing of theirs.
    user_session: UserSession = request.state.user_session
    return f"fresh link {user_session.id}"
