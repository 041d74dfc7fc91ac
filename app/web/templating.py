"""Turn a template and its values into a page."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.runs.fit_words import about
from app.settings import REPOSITORY_ROOT
from app.sizes import filesize, percent
from app.version import VERSION
from app.web import charts, formatting

TEMPLATE_FOLDER = REPOSITORY_ROOT / "templates"
STATIC_FOLDER = REPOSITORY_ROOT / "static"

# Imported macros do not see the page's context, and a form must never lose its token because an
# import lacked "with context". So the token of the page being rendered stands here.
_form_token: ContextVar[str] = ContextVar("form_token", default="")
_static_digests: dict[tuple[str, int], str] = {}


def static(path: str, *, with_digest: bool = True) -> str:
    """The address of a static file, with a digest of its contents so that caches can keep it.

    The stylesheets name the fonts without a digest; a page that preloads one must do the same.
    """
    if not with_digest:
        return f"/static/{path}"
    file = STATIC_FOLDER / path
    key = (path, file.stat().st_mtime_ns)
    if key not in _static_digests:
        _static_digests[key] = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    return f"/static/{path}?v={_static_digests[key]}"


def with_query(url: str, **changes: object) -> str:
    """The same address with some query values set, or removed where the new value is None."""
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name not in changes]
    query += [(name, str(value)) for name, value in changes.items() if value is not None]
    return urlunsplit(parts._replace(query=urlencode(query)))


def page_numbers(page: int, pages: int) -> list[int | None]:
    """The pages to offer: the ends and the neighbours; None stands for a gap."""
    wanted = sorted({1, pages, *range(max(1, page - 1), min(pages, page + 1) + 1)})
    numbers: list[int | None] = []
    for before, current in zip([0, *wanted], wanted, strict=False):
        if current - before == 2:
            numbers.append(current - 1)
        elif current - before > 2:
            numbers.append(None)
        numbers.append(current)
    return numbers


def make_environment(folder: Path = TEMPLATE_FOLDER) -> Environment:
    """The template environment: everything escaped, every misspelt name an error."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for filter_function in (
        formatting.number,
        formatting.significant,
        filesize,
        about,
        formatting.duration,
        formatting.exact_duration,
        formatting.plural,
        percent,
        formatting.ago,
        formatting.date,
        formatting.date_time,
        with_query,
    ):
        environment.filters[filter_function.__name__] = filter_function
    environment.globals |= {
        "static": static,
        "form_token": _form_token.get,
        "page_numbers": page_numbers,
        "lay_out_loss_charts": charts.loss_charts,
        "tailor_version": VERSION,
    }
    return environment


_environment = make_environment()


def render(
    request: Request,
    name: str,
    context: Mapping[str, object] | None = None,
    status_code: int = 200,
) -> HTMLResponse:
    """Render a page for a request.

    The page also knows current_user, csrf_token, flashes, stepper, next_step, project_role and
    may_edit, from what the request's dependencies left on request.state; each may be missing.
    """
    values = {**_page_context(request), **(context or {})}
    return HTMLResponse(_rendered(name, values), status_code=status_code)


def render_fragment(name: str, context: Mapping[str, object], form_token: str = "") -> str:
    """Render a template outside of a request: the HTML of a live view's event."""
    return _rendered(name, {"csrf_token": form_token, **context})


def _page_context(request: Request) -> dict[str, object]:
    state = request.state
    return {
        "current_user": getattr(state, "user", None),
        "csrf_token": getattr(state, "csrf_token", ""),
        "flashes": getattr(state, "flashes", []),
        "stepper": getattr(state, "stepper", []),
        "next_step": getattr(state, "next_step", None),
        "project_role": getattr(state, "project_role", None),
        "may_edit": getattr(state, "may_edit", False),
        "request_path": request.url.path,
    }


def _rendered(name: str, values: Mapping[str, object]) -> str:
    with _token_in_forms(str(values.get("csrf_token", ""))):
        return _environment.get_template(name).render(values)


@contextmanager
def _token_in_forms(token: str) -> Iterator[None]:
    reset = _form_token.set(token)
    try:
        yield
    finally:
        _form_token.reset(reset)
