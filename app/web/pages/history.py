"""What happened: the administrators' page of who did what."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.audit.service import EVENTS_PER_PAGE, newest_events
from app.web.dependencies import AdminUser, DatabaseSession
from app.web.templating import render

router = APIRouter()


@router.get("/people/history")
def show_history(
    request: Request, _: AdminUser, session: DatabaseSession, before: int | None = None
) -> HTMLResponse:
    events = newest_events(session, before)
    context = {
        "events": events,
        "is_newest": before is None,
        "older": events[-1].id if len(events) == EVENTS_PER_PAGE else None,
    }
    return render(request, "people/history.html", context)
