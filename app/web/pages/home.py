"""The first page: a person's projects with their next steps, and the samples."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.journey.samples import samples
from app.journey.service import progress_of_all
from app.projects import repository
from app.web.dependencies import CurrentUser, DatabaseSession
from app.web.templating import render

router = APIRouter()


@router.get("/")
def home(request: Request, user: CurrentUser, session: DatabaseSession) -> Response:
    projects = [project for project, _ in repository.projects_of(session, user.id)]
    context = {
        "projects": projects,
        "progress": progress_of_all(session, projects),
        "samples": samples(),
    }
    return render(request, "home/home.html", context)
