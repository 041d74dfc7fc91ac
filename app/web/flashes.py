"""A sentence that the next page shows once, carried by the browser in a signed cookie."""

from datetime import timedelta
from typing import Final, Literal, cast

from fastapi import Request
from fastapi.responses import RedirectResponse

from app.web.cookies import CookieJar
from app.web.signing import Signer

Kind = Literal["notice", "problem"]

_PURPOSE: Final = "flash"
_LONGEST: Final = 600
_LIFETIME: Final = timedelta(minutes=5)


def redirect(
    request: Request, url: str, flash: str = "", kind: Kind = "notice"
) -> RedirectResponse:
    """Send the browser to another page after a form, with a sentence for that page to show."""
    response = RedirectResponse(url, status_code=303)
    if flash:
        jar: CookieJar = request.app.state.cookies
        signer: Signer = request.app.state.signer
        value = signer.packed(_PURPOSE, [kind, flash[:_LONGEST]])
        response.headers.append("set-cookie", jar.header(jar.flash, value, _LIFETIME))
    return response


def read_flashes(signer: Signer, value: str) -> list[tuple[Kind, str]]:
    """Return what the cookie says; nothing if it is not our own."""
    content = signer.unpacked(_PURPOSE, value)
    if content is None:
        return []
    kind, text = content
    return [(cast("Kind", kind), text)]
