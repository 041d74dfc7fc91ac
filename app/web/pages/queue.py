"""The queue: what runs where, who is next, and how much each person may have."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.accounts.tables import User
from app.errors import DomainError
from app.runs.queue import administration
from app.runs.queue.overview import overview
from app.web.dependencies import AdminUser, DatabaseSession
from app.web.flashes import redirect
from app.web.gate import wants_page
from app.web.templating import render

router = APIRouter()

Text = Annotated[str, Form()]
_PAGE = "/queue"


@router.get(_PAGE)
def show_queue(
    request: Request,
    user: AdminUser,
    session: DatabaseSession,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
) -> HTMLResponse:
    return _page(request, session, user, page)


@router.post("/queue/runs/{run_id}/first")
def put_first(request: Request, _: AdminUser, session: DatabaseSession, run_id: str) -> Response:
    administration.put_first(session, run_id)
    return redirect(request, _PAGE, "The training is first in line now.")


@router.post("/queue/runs/{run_id}/later")
def put_later(request: Request, _: AdminUser, session: DatabaseSession, run_id: str) -> Response:
    administration.put_later(session, run_id)
    return redirect(request, _PAGE, "The next training goes before it now.")


@router.post("/queue/runs/{run_id}/last")
def put_last(request: Request, _: AdminUser, session: DatabaseSession, run_id: str) -> Response:
    administration.put_last(session, run_id)
    return redirect(request, _PAGE, "The training is last in line now.")


@router.post("/queue/limits")
def limit_everybody(
    request: Request,
    user: AdminUser,
    session: DatabaseSession,
    runs_at_once: Text = "",
    device_hours_a_week: Text = "",
) -> Response:
    return _set_limit(request, session, user, None, runs_at_once, device_hours_a_week)


@router.post("/queue/limits/own")
def limit_person(
    request: Request,
    user: AdminUser,
    session: DatabaseSession,
    person_id: Text = "",
    runs_at_once: Text = "",
    device_hours_a_week: Text = "",
) -> Response:
    return _set_limit(request, session, user, person_id, runs_at_once, device_hours_a_week)


@router.post("/queue/limits/own/{person_id}/remove")
def remove_limit(
    request: Request, _: AdminUser, session: DatabaseSession, person_id: str
) -> Response:
    administration.drop_limit(session, person_id)
    return redirect(request, f"{_PAGE}#limits", "What holds for everybody holds for them again.")


def _set_limit(
    request: Request,
    session: Session,
    user: User,
    person_id: str | None,
    runs_at_once: str,
    hours: str,
) -> Response:
    try:
        limit = administration.read_limit(runs_at_once, hours)
        administration.set_limit(session, person_id, limit)
    except DomainError as error:
        if not wants_page(request):
            raise
        typed = {
            "person_id": person_id,
            "runs_at_once": runs_at_once,
            "device_hours_a_week": hours,
        }
        return _page(request, session, user, 1, typed, error)
    return redirect(request, f"{_PAGE}#limits", "The limits are saved.")


def _page(
    request: Request,
    session: Session,
    user: User,
    page: int,
    typed: dict[str, str | None] | None = None,
    error: DomainError | None = None,
) -> HTMLResponse:
    """The whole page; keeps what was typed into the form that cannot be used."""
    queue = overview(session, user.id, page)
    people = [(person.id, f"{person.name} ({person.email})") for person in queue.people]
    context = {"queue": queue, "people": people, "typed": typed, "error": error}
    status_code = error.status_code if error else 200
    return render(request, "queue/index.html", context, status_code=status_code)
