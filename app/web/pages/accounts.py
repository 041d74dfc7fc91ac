"""Signing in and out, and a person's own account."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import Engine

from app.accounts import repository, service, sign_in
from app.accounts.errors import TooManyAttemptsError, WrongPasswordError
from app.accounts.passwords import verify_password
from app.accounts.sign_in import Browser, NewSession
from app.database.session import transaction
from app.errors import DomainError
from app.web.browser_names import browser_name
from app.web.dependencies import (
    CurrentBrowser,
    CurrentSession,
    CurrentUser,
    DatabaseEngine,
    DatabaseSession,
)
from app.web.entrance import let_in, let_out, safe_next
from app.web.flashes import redirect
from app.web.templating import render

router = APIRouter()

Text = Annotated[str, Form()]


@router.get("/login")
@router.head("/login")
def show_login(request: Request, session: DatabaseSession, next: str = "/") -> Response:  # noqa: A002
    if request.state.user is not None:
        return redirect(request, safe_next(next))
    context = {
        "next": safe_next(next),
        "email": "",
        "error": None,
        "nobody_yet": not repository.anyone_exists(session),
    }
    return render(request, "accounts/login.html", context)


@router.post("/login")
def log_in(
    request: Request,
    browser: CurrentBrowser,
    engine: DatabaseEngine,
    email: Text = "",
    password: Text = "",
    next: Text = "/",  # noqa: A002
) -> Response:
    try:
        opened = _sign_in(engine, email, password, browser)
    except DomainError as error:
        return _login_again(request, email, next, error)
    return let_in(request, opened, safe_next(next))


@router.post("/logout")
def log_out(
    request: Request, user: CurrentUser, own: CurrentSession, session: DatabaseSession
) -> Response:
    sign_in.sign_out(session, user, own.id)
    return let_out(request, redirect(request, "/login", "You are signed out."))


@router.get("/account")
def show_account(
    request: Request, user: CurrentUser, own: CurrentSession, session: DatabaseSession
) -> Response:
    return _account_page(request, session, user.id, own.id)


@router.post("/account/name")
def change_name(
    request: Request,
    user: CurrentUser,
    own: CurrentSession,
    session: DatabaseSession,
    name: Text = "",
) -> Response:
    try:
        service.change_name(session, user.id, name)
    except DomainError as error:
        return _account_page(request, session, user.id, own.id, error)
    return redirect(request, "/account", "Your name is saved.")


@router.post("/account/password")
def change_password(
    request: Request,
    user: CurrentUser,
    own: CurrentSession,
    session: DatabaseSession,
    current_password: Text = "",
    password: Text = "",
) -> Response:
    try:
        # Before the session's first query: hashing takes long, and a transaction that writes
        # keeps everyone else from writing.
        change = service.prepare_password_change(user, current=current_password, new=password)
        service.change_password(session, user.id, own.id, change)
    except DomainError as error:
        return _account_page(request, session, user.id, own.id, error)
    return redirect(
        request, "/account", "Your password is changed. Every other browser was signed out."
    )


@router.post("/account/sessions/{session_id}/end")
def end_session(
    request: Request,
    user: CurrentUser,
    own: CurrentSession,
    session: DatabaseSession,
    session_id: str,
) -> Response:
    sign_in.end_session(session, user, session_id)
    if session_id == own.id:
        return let_out(request, redirect(request, "/login", "You are signed out."))
    return redirect(request, "/account", "That browser was signed out.")


def _sign_in(engine: Engine, email: str, password: str, browser: Browser) -> NewSession:
    # Three steps in transactions of their own: see app/accounts/sign_in.py.
    with transaction(engine) as session:
        password_hash = sign_in.begin_attempt(session, email, browser.address)
    if not verify_password(password_hash, password):
        with transaction(engine) as session:
            sign_in.note_failure(session, email, browser)
        raise WrongPasswordError
    with transaction(engine) as session:
        opened = sign_in.complete_sign_in(session, email, password, browser)
    if isinstance(opened, DomainError):
        raise opened
    return opened


def _login_again(request: Request, email: str, target: str, error: DomainError) -> HTMLResponse:
    context = {"next": safe_next(target), "email": email, "error": error, "nobody_yet": False}
    response = render(request, "accounts/login.html", context, status_code=error.status_code)
    if isinstance(error, TooManyAttemptsError):
        response.headers["retry-after"] = str(error.wait_seconds)
    return response


def _account_page(
    request: Request,
    session: DatabaseSession,
    user_id: str,
    own_id: str,
    error: DomainError | None = None,
) -> HTMLResponse:
    context = {
        "person": service.person(session, user_id),
        "sessions": [
            (row, browser_name(row.user_agent)) for row in repository.sessions_of(session, user_id)
        ],
        "own_id": own_id,
        "error": error,
    }
    status_code = error.status_code if error else 200
    return render(request, "accounts/account.html", context, status_code=status_code)
