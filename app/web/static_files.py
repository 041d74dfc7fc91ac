"""Our own style sheets, scripts and fonts, kept by browsers as long as they do not change."""

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_FOREVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "public, no-cache"


class StaticFolder(StaticFiles):
    """Static files. An address that carries a digest (?v=…) never changes what it names."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        has_digest = scope["query_string"].startswith(b"v=")
        response.headers["cache-control"] = _FOREVER if has_digest else _ASK_AGAIN
        return response
