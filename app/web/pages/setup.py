"""The doors that a one-time link opens: setting Tailor up, an invitation, a new password."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from sqlalchemy import Engine

from app.accounts import links, service, sign_in
from app.accounts.errors import LinkNotValidError
from app.accounts.passwords import hash_password
from app.accounts.service import NewPerson
from app.database.session import transaction
from app.errors import DomainError
from app.web.dependencies import CurrentBrowser, DatabaseEngine, DatabaseSession
from app.web.entrance import let_in
from app.web.flashes import redirect
from app.web.templating import render

router = APIRouter()

Text = Annotated[str, Form()]


@router.get("/setup/{token}")
def show_setup(request: Request, session: DatabaseSession, token: str) -> Response:
    links.check_link(session, links.SETUP, token)
    return render(request, "accounts/setup.html", {"email": "", "name": "", "error": None})


@router.post("/setup/{token}")
def set_up(
    request: Request,
    session: DatabaseSession,
    engine: DatabaseEngine,
    browser: CurrentBrowser,
    token: str,
    email: Text = "",
    name: Text = "",
    password: Text = "",
) -> Response:
    person = NewPerson(email, name, password, _hashed(engine, links.SETUP, token, password))
    try:
        user = service.complete_setup(session, token, person)
    except LinkNotValidError:
        raise
    except DomainError as error:
        context = {"email": email, "name": name, "error": error}
        return render(request, "accounts/setup.html", context, status_code=error.status_code)
    opened = sign_in.open_session(session, user, browser)
    return let_in(request, opened, "/", "Tailor is set up, and you are its administrator.")


@router.get("/invitation/{token}")
def show_invitation(request: Request, session: DatabaseSession, token: str) -> Response:
    link = links.check_link(session, links.INVITATION, token)
    context = {"email": link.email, "name": "", "error": None}
    return render(request, "accounts/invitation.html", context)


@router.post("/invitation/{token}")
def accept_invitation(
    request: Request,
    session: DatabaseSession,
    engine: DatabaseEngine,
    browser: CurrentBrowser,
    token: str,
    name: Text = "",
    password: Text = "",
) -> Response:
    password_hash = _hashed(engine, links.INVITATION, token, password)
    link = links.check_link(session, links.INVITATION, token)
    try:
        user = service.accept_invitation(session, token, name, password, password_hash)
    except LinkNotValidError:
        raise
    except DomainError as error:
        context = {"email": link.email, "name": name, "error": error}
        return render(request, "accounts/invitation.html", context, status_code=error.status_code)
    opened = sign_in.open_session(session, user, browser)
    return let_in(request, opened, "/", "Welcome. This is where your projects will be.")


@router.get("/reset/{token}")
def show_reset(request: Request, session: DatabaseSession, token: str) -> Response:
    user = service.person_of_reset_link(session, token)
    return render(request, "accounts/reset.html", {"email": user.email, "error": None})


@router.post("/reset/{token}")
def reset_password(
    request: Request,
    session: DatabaseSession,
    engine: DatabaseEngine,
    token: str,
    password: Text = "",
) -> Response:
    password_hash = _hashed(engine, links.RESET, token, password)
    user = service.person_of_reset_link(session, token)
    try:
        service.use_reset_link(session, token, password, password_hash)
    except LinkNotValidError:
        raise
    except DomainError as error:
        context = {"email": user.email, "error": error}
        return render(request, "accounts/reset.html", context, status_code=error.status_code)
    return redirect(request, "/login", "Your new password is set. Sign in with it.")


def _hashed(engine: Engine, purpose: str, token: str, password: str) -> str:
    """Hash a password before the route's own transaction begins.

    Hashing takes long, and a transaction that writes keeps everyone else from writing. Only whoever
    has a link that works is worth the effort.
    """
    with transaction(engine, read_only=True) as session:
        links.check_link(session, purpose, token)
    return hash_password(password)
