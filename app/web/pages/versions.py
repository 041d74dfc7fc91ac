"""Take it: the versions of a project's model, and their files as a download."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from app.adapters import service
from app.web.dependencies import DatabaseSession, FileStorage, ViewedProject, WritingSession
from app.web.templating import render

router = APIRouter()


@router.get("/projects/{project_id}/versions")
def list_versions(
    request: Request, project: ViewedProject, session: DatabaseSession
) -> HTMLResponse:
    return render(
        request,
        "versions/index.html",
        {"project": project, "versions": service.versions_of(session, project)},
    )


@router.get("/projects/{project_id}/versions/{number}")
def show_version(
    request: Request, project: ViewedProject, session: DatabaseSession, number: int
) -> HTMLResponse:
    details = service.find_version(session, project, number)
    return render(
        request,
        "versions/show.html",
        {
            "project": project,
            "version": details.version,
            "base": details.base,
            "can_be_continued": details.can_be_continued,
        },
    )


@router.get("/projects/{project_id}/versions/{number}/download")
def download_version(
    project: ViewedProject, session: WritingSession, storage: FileStorage, number: int
) -> StreamingResponse:
    bundle = service.bundle_of(session, storage, project, number)
    # The zip is made anew for each download, so a part of it cannot be asked for: ranges are
    # ignored, which HTTP allows, and nobody is invited to send one.
    return StreamingResponse(
        bundle.stream(),
        media_type="application/zip",
        headers={
            "Content-Disposition": f'attachment; filename="{bundle.file_name}"',
            "Accept-Ranges": "none",
            "Cache-Control": "private, no-store",
        },
    )
