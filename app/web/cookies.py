"""The cookies that Tailor sets, and how: for this host alone, out of reach for scripts."""

from dataclasses import dataclass
from datetime import timedelta
from http.cookies import SimpleCookie

from app.settings import Settings


@dataclass(frozen=True)
class CookieJar:
    """Names and attributes of the cookies, fitted to how Tailor is reached.

    Over https the names begin with `__Host-`, which browsers accept only with Secure, Path=/ and
    without a domain: no other host can set or read them. On plain http (Tailor on one's own
    machine, reached as 127.0.0.1) Secure would keep some browsers from storing the cookie at all,
    so the names go without the prefix there. docs/security.md says so too.
    """

    secure: bool

    @property
    def session(self) -> str:
        return "__Host-tailor" if self.secure else "tailor_session"

    @property
    def form(self) -> str:
        return "__Host-tailor-form" if self.secure else "tailor_form"

    @property
    def flash(self) -> str:
        return "__Host-tailor-flash" if self.secure else "tailor_flash"

    @property
    def fresh_link(self) -> str:
        return "__Host-tailor-link" if self.secure else "tailor_link"

    def header(self, name: str, value: str, lifetime: timedelta | None = None) -> str:
        """Return the value of a Set-Cookie header; without a lifetime, until the browser closes."""
        cookie: SimpleCookie = SimpleCookie()
        cookie[name] = value
        morsel = cookie[name]
        morsel["path"] = "/"
        morsel["httponly"] = True
        morsel["samesite"] = "Lax"
        if self.secure:
            morsel["secure"] = True
        if lifetime is not None:
            morsel["max-age"] = int(lifetime.total_seconds())
        return morsel.OutputString()

    def removal(self, name: str) -> str:
        return self.header(name, "", timedelta(0))


def cookie_jar(settings: Settings) -> CookieJar:
    return CookieJar(secure=settings.resolved_public_url.startswith("https://"))
