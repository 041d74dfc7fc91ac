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
    found = repository.projects_of(session, user.id)
    roles = {project.id: role for project, role in found}
    context = {
        "projects": [project for project, _ in found],
        "progress": progress_of_all(session, roles),
        "samples": samples(),
    }
    return render(request, "home/home.html", context)
