"""Who may sign in here: the administrators' page."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.accounts import links, repository, service
from app.clock import now
from app.errors import DomainError
from app.projects import service as projects
from app.projects.errors import UnknownMemberError
from app.web.dependencies import AdminUser, AppSettings, DatabaseSession
from app.web.flashes import redirect
from app.web.fresh_links import (
    FreshLink,
    forget_fresh_link,
    read_fresh_link,
    redirect_with_link,
)
from app.web.templating import render

router = APIRouter()

Text = Annotated[str, Form()]


@router.get("/people")
def show_people(
    request: Request, admin: AdminUser, session: DatabaseSession, settings: AppSettings
) -> Response:
    link = read_fresh_link(request)
    url = f"{settings.resolved_public_url}{link.path}" if link else ""
    response = _page(request, session, admin.id, fresh_link=link, fresh_link_url=url)
    forget_fresh_link(request, response)
    return response


@router.post("/people/invitations")
def invite(
    request: Request,
    admin: AdminUser,
    session: DatabaseSession,
    email: Text = "",
    makes_admin: Text = "",
) -> Response:
    try:
        token = service.invite(session, admin, email, makes_admin=bool(makes_admin))
    except DomainError as error:
        typed = {"email": email, "makes_admin": bool(makes_admin)}
        return _page(request, session, admin.id, error.status_code, **typed, error=error)
    link = FreshLink(f"/invitation/{token}", email.strip())
    return redirect_with_link(request, "/people", link)


@router.post("/people/invitations/{link_id}/withdraw")
def withdraw(
    request: Request,
    _: AdminUser,
    session: DatabaseSession,
    link_id: str,
) -> Response:
    service.withdraw_invitation(session, link_id)
    return redirect(request, "/people", "The invitation is withdrawn; its link works no more.")


@router.post("/people/reset-links/{link_id}/withdraw")
def withdraw_reset_link(
    request: Request, _: AdminUser, session: DatabaseSession, link_id: str
) -> Response:
    service.withdraw_reset_link(session, link_id)
    return redirect(request, "/people", "The link is withdrawn; it works no more.")


@router.post("/people/projects/{ownerless_id}/owner")
def name_owner(
    request: Request,
    admin: AdminUser,
    session: DatabaseSession,
    ownerless_id: str,
    email: Text = "",
) -> Response:
    try:
        owner = projects.name_owner(session, ownerless_id, email)
    except UnknownMemberError as error:
        shown = {"owner_error": error, "owner_error_of": ownerless_id}
        return _page(request, session, admin.id, error.status_code, **shown)
    return redirect(request, "/people", f"{owner.name} owns the project now.")


@router.post("/people/{user_id}/reset-link")
def make_reset_link(
    request: Request,
    admin: AdminUser,
    session: DatabaseSession,
    user_id: str,
) -> Response:
    user, token = service.reset_link(session, admin, user_id)
    link = FreshLink(f"/reset/{token}", user.name, is_reset=True)
    return redirect_with_link(request, "/people", link)


@router.post("/people/{user_id}/administrator")
def set_administrator(
    request: Request,
    _: AdminUser,
    session: DatabaseSession,
    user_id: str,
    is_admin: Text = "",
) -> Response:
    user = service.set_administrator(session, user_id, is_admin=bool(is_admin))
    what = "is an administrator now" if user.is_admin else "is no administrator any more"
    return redirect(request, "/people", f"{user.name} {what}.")


@router.post("/people/{user_id}/active")
def set_active(
    request: Request,
    _: AdminUser,
    session: DatabaseSession,
    user_id: str,
    is_active: Text = "",
) -> Response:
    user = service.set_active(session, user_id, is_active=bool(is_active))
    what = "can sign in again" if user.is_active else "was signed out and cannot sign in any more"
    return redirect(request, "/people", f"{user.name} {what}.")


def _page(
    request: Request, session: Session, own_id: str, status_code: int = 200, **shown: object
) -> HTMLResponse:
    moment = now()
    context = {
        "people": repository.all_users(session),
        "invitations": repository.open_links(session, links.INVITATION, moment),
        "reset_links": repository.open_reset_links(session, moment),
        "ownerless": projects.without_owner(session),
        "own_id": own_id,
        "email": "",
        "makes_admin": False,
        "error": None,
        "owner_error": None,
        "owner_error_of": "",
        "fresh_link": None,
        "fresh_link_url": "",
        **shown,
    }
    return render(request, "people/index.html", context, status_code=status_code)
