"""Making projects, their overview, and their settings."""

import logging
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.database.session import DATABASE_AWAY
from app.errors import DomainError
from app.journey.deletion import begin_deletion, finish_deletion
from app.journey.samples import create_from_sample, sample_called, samples
from app.projects import service
from app.projects.tables import Project, Role
from app.web.dependencies import (
    CurrentUser,
    DatabaseEngine,
    DatabaseSession,
    FileStorage,
    OwnedProject,
    ProjectAccess,
    ViewedProject,
)
from app.web.flashes import redirect
from app.web.templating import render

logger = logging.getLogger(__name__)
router = APIRouter()

Text = Annotated[str, Form()]
RoleField = Annotated[Role, Form()]


@router.get("/projects")
def list_projects(request: Request) -> Response:
    return redirect(request, "/")


@router.get("/projects/new")
def show_new(request: Request) -> Response:
    context = {"name": "", "goal": "", "error": None, "samples": samples()}
    return render(request, "projects/new.html", context)


@router.post("/projects")
def create(
    request: Request,
    user: CurrentUser,
    session: DatabaseSession,
    name: Text = "",
    goal: Text = "",
) -> Response:
    try:
        project = service.create_project(session, user.id, name, goal)
    except DomainError as error:
        context = {"name": name, "goal": goal, "error": error, "samples": samples()}
        return render(request, "projects/new.html", context, status_code=error.status_code)
    return redirect(request, f"/projects/{project.id}/examples")


@router.post("/projects/samples/{slug}")
def create_sample(
    request: Request, user: CurrentUser, session: DatabaseSession, slug: str
) -> Response:
    project = create_from_sample(session, user.id, slug)
    return redirect(
        request,
        f"/projects/{project.id}/training",
        "The examples are in and a base model is chosen. All that is left is to start.",
    )


@router.get("/projects/{project_id}")
def show(request: Request, project: ViewedProject) -> Response:
    context = {"project": project, "sample": sample_called(project.sample_slug)}
    return render(request, "projects/show.html", context)


@router.get("/projects/{project_id}/settings")
def show_settings(
    request: Request, access: ProjectAccess, user: CurrentUser, session: DatabaseSession
) -> Response:
    return _settings_page(request, session, access.project, user.id)


@router.post("/projects/{project_id}/settings")
def change(
    request: Request,
    access: ProjectAccess,
    user: CurrentUser,
    session: DatabaseSession,
    name: Text = "",
    goal: Text = "",
) -> Response:
    project = access.require(Role.EDITOR)
    try:
        service.change_project(session, project, name, goal)
    except DomainError as error:
        typed = {"name": name, "goal": goal}
        return _settings_page(request, session, project, user.id, error, typed)
    return redirect(request, f"/projects/{project.id}/settings", "Saved.")


@router.post("/projects/{project_id}/members")
def add_member(
    request: Request,
    project: OwnedProject,
    user: CurrentUser,
    session: DatabaseSession,
    email: Text = "",
    role: RoleField = Role.EDITOR,
) -> Response:
    try:
        added = service.add_member(session, project, email, role)
    except DomainError as error:
        typed = {"email": email, "role": role.value}
        return _settings_page(request, session, project, user.id, error, typed)
    return redirect(request, f"/projects/{project.id}/settings", f"{added.name} was added.")


@router.post("/projects/{project_id}/members/{user_id}/role")
def change_role(
    request: Request,
    project: OwnedProject,
    session: DatabaseSession,
    user_id: str,
    role: RoleField,
) -> Response:
    service.change_role(session, project, user_id, role)
    return redirect(request, f"/projects/{project.id}/settings", "The role is changed.")


@router.post("/projects/{project_id}/members/{user_id}/remove")
def remove_member(
    request: Request,
    project: OwnedProject,
    user: CurrentUser,
    session: DatabaseSession,
    user_id: str,
) -> Response:
    if user_id == user.id:
        # The settings are not theirs to see any more.
        return leave(request, project, user, session)
    service.remove_member(session, project, user_id)
    return redirect(
        request, f"/projects/{project.id}/settings", "The person is no longer in the project."
    )


@router.post("/projects/{project_id}/leave")
def leave(
    request: Request, project: ViewedProject, user: CurrentUser, session: DatabaseSession
) -> Response:
    service.leave(session, project, user.id)
    return redirect(request, "/", f"You left “{project.name}”.")


@router.post("/projects/{project_id}/delete")
def delete(
    request: Request,
    project: OwnedProject,
    user: CurrentUser,
    engine: DatabaseEngine,
    session: DatabaseSession,
    storage: FileStorage,
    confirmation: Text = "",
) -> Response:
    try:
        begin_deletion(session, project, confirmation)
    except DomainError as error:
        typed = {"confirmation": confirmation}
        return _settings_page(request, session, project, user.id, error, typed)
    # Decided: nobody sees the project from here on, and whatever happens, the sweeper ends it.
    session.commit()
    try:
        finish_deletion(engine, storage, project.id)
    except DATABASE_AWAY as error:
        logger.warning("Project %s is deleted later: %s", project.id, error)
    return redirect(request, "/", f"“{project.name}” and all that belonged to it is deleted.")


def _settings_page(
    request: Request,
    session: Session,
    project: Project,
    own_id: str,
    error: DomainError | None = None,
    typed: dict[str, str] | None = None,
) -> HTMLResponse:
    role: Role = request.state.project_role
    members = service.members_of(session, project)
    owners = [
        person.id for member, person in members if member.role == Role.OWNER and person.is_active
    ]
    context = {
        "project": project,
        "members": members,
        "is_only_owner": owners == [own_id],
        "own_id": own_id,
        "may_manage": role == Role.OWNER,
        "may_edit": role != Role.VIEWER,
        "typed": typed or {},
        "error": error,
    }
    return render(
        request, "projects/settings.html", context, status_code=error.status_code if error else 200
    )
